"""Spend caps of keys; a key is made once under an idempotency key."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE keys
            ADD COLUMN spend_cap_nano bigint CHECK (spend_cap_nano >= 0),
            ADD COLUMN idempotency_key text CHECK (length(idempotency_key) <= 200);
        CREATE UNIQUE INDEX keys_by_idempotency_key ON keys (tenant_id, idempotency_key);
        """
    )
