"""Service tokens; the public keys of receipts."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE service_tokens (
            token_id text PRIMARY KEY,
            token_hash bytea NOT NULL UNIQUE,
            name text NOT NULL,
            scope smallint NOT NULL CHECK (scope IN (1, 2)),
            -- The tenant whose usage it reads; empty for all.
            tenant_id text NOT NULL DEFAULT '',
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz,
            revoked_at timestamptz,
            last_used_on date
        );

        -- Those that sign no more stay, so that their receipts can be checked for good.
        CREATE TABLE receipt_keys (
            kid text PRIMARY KEY,
            public_key bytea NOT NULL CHECK (length(public_key) = 32),
            created_at timestamptz NOT NULL DEFAULT now()
        );
        """
    )
