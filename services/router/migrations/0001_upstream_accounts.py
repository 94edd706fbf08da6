"""Upstream accounts and the models they serve."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE upstream_accounts (
            upstream_account_id text PRIMARY KEY,
            name text NOT NULL UNIQUE,
            kind text NOT NULL CHECK (kind IN ('anthropic', 'simulator')),
            base_url text NOT NULL,
            credential_sealed bytea NOT NULL,
            priority integer NOT NULL,
            enabled boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT now()
        );

        -- Public model id to the model's name at the upstream.
        CREATE TABLE upstream_models (
            upstream_account_id text NOT NULL REFERENCES upstream_accounts ON DELETE CASCADE,
            model text NOT NULL,
            upstream_model text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (upstream_account_id, model)
        );
        """
    )
