"""Pools, groups, what is said of models, and all that an upstream account may be told."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE pools (
            pool text PRIMARY KEY,
            created_at timestamptz NOT NULL DEFAULT now()
        );

        CREATE TABLE groups (
            "group" text PRIMARY KEY,
            created_at timestamptz NOT NULL DEFAULT now()
        );

        -- The pools of a group, in the order in which they are asked.
        CREATE TABLE group_pools (
            "group" text NOT NULL REFERENCES groups ON DELETE CASCADE,
            position integer NOT NULL,
            pool text NOT NULL REFERENCES pools,
            PRIMARY KEY ("group", position),
            UNIQUE ("group", pool)
        );

        INSERT INTO pools (pool) VALUES ('default');
        INSERT INTO groups ("group") VALUES ('default');
        INSERT INTO group_pools ("group", position, pool) VALUES ('default', 0, 'default');

        -- What an operator said of a model; times in milliseconds, 0: as the edge is set.
        CREATE TABLE models (
            model text PRIMARY KEY,
            display_name text NOT NULL,
            family text NOT NULL,
            attempts_budget_ms bigint NOT NULL CHECK (attempts_budget_ms >= 0),
            first_byte_ms bigint NOT NULL CHECK (first_byte_ms >= 0),
            idle_ms bigint NOT NULL CHECK (idle_ms >= 0),
            total_ms bigint NOT NULL CHECK (total_ms >= 0)
        );

        -- Each new column has a default, so that a router of the version before goes on writing. Limits: 0 for none.
        ALTER TABLE upstream_accounts
            ADD COLUMN pool text NOT NULL DEFAULT 'default' REFERENCES pools,
            ADD COLUMN weight integer NOT NULL DEFAULT 100 CHECK (weight BETWEEN 1 AND 1000),
            ADD COLUMN headers jsonb NOT NULL DEFAULT '{}',
            ADD COLUMN proxy text NOT NULL DEFAULT '',
            ADD COLUMN concurrent_limit bigint NOT NULL DEFAULT 0 CHECK (concurrent_limit >= 0),
            ADD COLUMN requests_limit bigint NOT NULL DEFAULT 0 CHECK (requests_limit >= 0),
            ADD COLUMN input_tokens_limit bigint NOT NULL DEFAULT 0 CHECK (input_tokens_limit >= 0),
            ADD COLUMN output_tokens_limit bigint NOT NULL DEFAULT 0 CHECK (output_tokens_limit >= 0),
            ADD COLUMN resale_allowed boolean NOT NULL DEFAULT false,
            ADD COLUMN note text NOT NULL DEFAULT '',
            ADD COLUMN credential_changed_at timestamptz NOT NULL DEFAULT now(),
            DROP CONSTRAINT upstream_accounts_kind_check,
            ADD CONSTRAINT upstream_accounts_kind_check
                CHECK (kind IN ('anthropic', 'simulator', 'openai', 'openrouter', 'gemini-openai'));
        UPDATE upstream_accounts SET credential_changed_at = created_at;
        CREATE INDEX upstream_accounts_by_pool ON upstream_accounts (pool);
        """
    )
