"""Writing entries: the one place where balances change."""

from collections.abc import Sequence
from typing import Final

from services.ledger.entries import Posting
from services.ledger.store.queries import Connection

_POST: Final = """
    WITH posting AS (
        SELECT p.transaction_id, d.ledger_account_id AS debit_id, c.ledger_account_id AS credit_id, p.amount_nano
        FROM unnest(%(transactions)s::bigint[], %(debit_kinds)s::text[], %(debit_tenants)s::text[],
                %(credit_kinds)s::text[], %(credit_tenants)s::text[], %(amounts)s::bigint[])
            AS p (transaction_id, debit_kind, debit_tenant, credit_kind, credit_tenant, amount_nano)
        JOIN ledger_accounts d ON d.kind = p.debit_kind AND d.tenant_id = p.debit_tenant
        JOIN ledger_accounts c ON c.kind = p.credit_kind AND c.tenant_id = p.credit_tenant
    ), posted AS (
        INSERT INTO entries (transaction_id, debit_account_id, credit_account_id, amount_nano)
        SELECT transaction_id, debit_id, credit_id, amount_nano FROM posting
        RETURNING 1
    ), change AS (
        SELECT ledger_account_id, sum(amount_nano)::bigint AS amount_nano
        FROM (
            SELECT credit_id AS ledger_account_id, amount_nano FROM posting
            UNION ALL SELECT debit_id, -amount_nano FROM posting
        ) AS sides
        GROUP BY ledger_account_id
    ), balanced AS (
        UPDATE ledger_accounts a SET balance_nano = a.balance_nano + change.amount_nano
        FROM change WHERE a.ledger_account_id = change.ledger_account_id
    )
    SELECT count(*) FROM posted
"""


async def post(connection: Connection, transaction_id: int, postings: Sequence[Posting]) -> None:
    """Writes a transaction's entries and moves the balances. The accounts must exist, and prepaid ones be locked."""
    await post_each(connection, [(transaction_id, posting) for posting in postings])


async def post_each(connection: Connection, postings: Sequence[tuple[int, Posting]]) -> None:
    """Writes entries of several transactions, as `post` does: each with its transaction's id."""
    if not postings:
        return
    written = await connection.execute(
        _POST,
        {
            "transactions": [transaction_id for transaction_id, _ in postings],
            "debit_kinds": [posting.debit.kind for _, posting in postings],
            "debit_tenants": [posting.debit.tenant_id for _, posting in postings],
            "credit_kinds": [posting.credit.kind for _, posting in postings],
            "credit_tenants": [posting.credit.tenant_id for _, posting in postings],
            "amounts": [posting.amount_nano for _, posting in postings],
        },
    )
    row = await written.fetchone()
    if row is None or row[0] != len(postings):
        raise LookupError("a posting names a ledger account that does not exist")
