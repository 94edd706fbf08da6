"""ledger: what was used, what it cost, what is left."""
