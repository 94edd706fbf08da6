"""Prices by the request and by date, multipliers, costs, vouchers, the audit log."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE prices ADD COLUMN request_pico bigint NOT NULL DEFAULT 0 CHECK (request_pico >= 0);
        DROP INDEX prices_in_force;
        CREATE INDEX prices_in_force ON prices (model, effective_at DESC, price_version DESC);

        -- What a brand, a plan, a group or everybody pays of the list price. Rows are added, never changed.
        CREATE TABLE multipliers (
            multiplier_version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            scope text NOT NULL CHECK (scope IN ('all', 'brand', 'plan', 'group')),
            name text NOT NULL CHECK ((name = '') = (scope = 'all')),
            ppm integer NOT NULL CHECK (ppm > 0),
            effective_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX multipliers_in_force ON multipliers (scope, name, effective_at DESC, multiplier_version DESC);

        -- What upstream accounts charge us; an empty account means any. Rows are added, never changed.
        CREATE TABLE costs (
            cost_version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            upstream_account_id text NOT NULL,
            model text NOT NULL,
            input_pico bigint NOT NULL CHECK (input_pico >= 0),
            output_pico bigint NOT NULL CHECK (output_pico >= 0),
            cache_read_pico bigint NOT NULL CHECK (cache_read_pico >= 0),
            cache_write_5m_pico bigint NOT NULL CHECK (cache_write_5m_pico >= 0),
            cache_write_1h_pico bigint NOT NULL CHECK (cache_write_1h_pico >= 0),
            request_pico bigint NOT NULL CHECK (request_pico >= 0),
            effective_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX costs_in_force ON costs (upstream_account_id, model, effective_at DESC, cost_version DESC);

        CREATE TABLE voucher_batches (
            batch_id text PRIMARY KEY CHECK (length(batch_id) BETWEEN 1 AND 200),
            funding text NOT NULL CHECK (funding IN ('sold', 'gift')),
            amount_nano bigint NOT NULL CHECK (amount_nano > 0),
            vouchers integer NOT NULL CHECK (vouchers > 0),
            expires_at timestamptz,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        -- The code itself is nowhere: only its hash.
        CREATE TABLE vouchers (
            voucher_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            batch_id text NOT NULL REFERENCES voucher_batches,
            code_hash bytea NOT NULL UNIQUE CHECK (length(code_hash) = 32),
            void boolean NOT NULL DEFAULT false,
            redeemed_by text,
            redeemed_at timestamptz,
            transaction_id bigint REFERENCES transactions
        );
        CREATE INDEX vouchers_of_batch ON vouchers (batch_id, voucher_id);

        CREATE TABLE audit (
            audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL DEFAULT now(),
            actor text NOT NULL,
            action text NOT NULL,
            target text NOT NULL,
            reason text NOT NULL,
            details jsonb NOT NULL
        );
        CREATE INDEX audit_of_target ON audit (target, audit_id);
        CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON audit
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        CREATE INDEX entries_of_debtor ON entries (debit_account_id, transaction_id);
        CREATE INDEX entries_of_creditor ON entries (credit_account_id, transaction_id);
        """
    )
