"""The audit log takes what people do elsewhere, and is read by who did it and what was done."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        -- Every booking takes this lock before anything else: those of ledgers that run go on when the schema is new,
        -- rather than lock the same tables in another order.
        SELECT pg_advisory_xact_lock(hashtext('tollhouse.booking'));

        -- Of rows that another service's caller writes; those of the ledger's own deeds have none.
        ALTER TABLE audit ADD COLUMN idempotency_key text UNIQUE;
        CREATE INDEX audit_of_actor ON audit (actor, audit_id);
        CREATE INDEX audit_of_action ON audit (action, audit_id);

        CREATE INDEX voucher_batches_by_age ON voucher_batches (created_at, batch_id);
        -- Few attempts are orphaned: they are found without reading the others.
        CREATE INDEX usage_orphaned ON usage_records (created_at) WHERE status = 7;
        """
    )
