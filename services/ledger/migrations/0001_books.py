"""Ledger accounts, transactions, entries, price book, credit grants, usage records."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        -- Credit is positive: a prepaid balance is what we owe the tenant.
        CREATE TABLE ledger_accounts (
            ledger_account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            kind text NOT NULL CHECK (kind IN ('prepaid', 'revenue', 'top_up_clearing')),
            tenant_id text NOT NULL DEFAULT '',
            balance_nano bigint NOT NULL DEFAULT 0,
            UNIQUE (kind, tenant_id)
        );
        INSERT INTO ledger_accounts (kind) VALUES ('revenue'), ('top_up_clearing');

        CREATE TABLE transactions (
            transaction_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            kind text NOT NULL CHECK (kind IN ('usage', 'top_up')),
            idempotency_key text UNIQUE,
            reason text NOT NULL DEFAULT '',
            created_at timestamptz NOT NULL DEFAULT now()
        );

        -- One entry has both sides, so that every transaction balances by construction (I4).
        CREATE TABLE entries (
            transaction_id bigint NOT NULL REFERENCES transactions,
            debit_account_id bigint NOT NULL REFERENCES ledger_accounts,
            credit_account_id bigint NOT NULL REFERENCES ledger_accounts CHECK (credit_account_id <> debit_account_id),
            amount_nano bigint NOT NULL CHECK (amount_nano > 0),
            PRIMARY KEY (transaction_id, debit_account_id, credit_account_id)
        );
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'entries and transactions are immutable'; END $$;
        CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON entries
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON transactions
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        -- Rows are added, never changed: a request is charged by the row that was in force at its admission.
        CREATE TABLE prices (
            price_version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model text NOT NULL,
            input_pico bigint NOT NULL CHECK (input_pico >= 0),
            output_pico bigint NOT NULL CHECK (output_pico >= 0),
            cache_read_pico bigint NOT NULL CHECK (cache_read_pico >= 0),
            cache_write_5m_pico bigint NOT NULL CHECK (cache_write_5m_pico >= 0),
            cache_write_1h_pico bigint NOT NULL CHECK (cache_write_1h_pico >= 0),
            effective_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX prices_in_force ON prices (model, price_version DESC);

        CREATE TABLE grants (
            grant_id text PRIMARY KEY,
            tenant_id text NOT NULL,
            holder text NOT NULL,
            amount_nano bigint NOT NULL CHECK (amount_nano >= 0),
            spent_nano bigint NOT NULL DEFAULT 0,
            expires_at timestamptz NOT NULL
        );
        CREATE INDEX grants_of_tenant ON grants (tenant_id);

        -- created_at is the instant in the request id, so it follows from the key and finds the partition.
        CREATE TABLE usage_records (
            created_at timestamptz NOT NULL,
            request_id text NOT NULL,
            attempt smallint NOT NULL,
            final boolean NOT NULL,
            tenant_id text NOT NULL,
            key_id text NOT NULL,
            model text NOT NULL,
            upstream_model text NOT NULL,
            upstream_account_id text NOT NULL,
            upstream_request_id text NOT NULL,
            status smallint NOT NULL,
            http_status smallint NOT NULL,
            stream boolean NOT NULL,
            estimated boolean NOT NULL,
            input_tokens bigint NOT NULL,
            output_tokens bigint NOT NULL,
            cache_read_tokens bigint NOT NULL,
            cache_write_5m_tokens bigint NOT NULL,
            cache_write_1h_tokens bigint NOT NULL,
            cost_nano bigint NOT NULL,
            price_version bigint NOT NULL,
            grant_id text NOT NULL,
            duration_ms integer NOT NULL,
            first_token_ms integer NOT NULL,
            transaction_id bigint NOT NULL,
            booked_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (request_id, attempt, created_at)
        ) PARTITION BY RANGE (created_at);
        CREATE INDEX usage_of_tenant ON usage_records (tenant_id, created_at, request_id);
        -- Takes what a wrong clock dates outside the partitions that exist; the ledger makes those months ahead.
        CREATE TABLE usage_records_elsewhen PARTITION OF usage_records DEFAULT;
        """
    )
