"""The ledger's SQL, one module for each thing that is kept in the schema `ledger`.

Locks are always taken in the same order: a tenant's ledger account, then its grants.
"""
