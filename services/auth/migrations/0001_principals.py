"""Tenants and client keys."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE tenants (
            tenant_id text PRIMARY KEY CHECK (tenant_id ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
            name text NOT NULL,
            enabled boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT now()
        );

        -- The key itself is nowhere: only its keyed hash, and enough of it to recognise it by.
        CREATE TABLE keys (
            key_id text PRIMARY KEY,
            tenant_id text NOT NULL REFERENCES tenants,
            name text NOT NULL CHECK (length(name) <= 50),
            key_hash bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
            hint text NOT NULL,
            enabled boolean NOT NULL DEFAULT true,
            expires_at timestamptz,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX keys_of_tenant ON keys (tenant_id, created_at);
        """
    )
