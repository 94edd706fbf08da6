"""What a bill can be explained by; the upstream's cost; grants of keys; rollups."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE ledger_accounts DROP CONSTRAINT ledger_accounts_kind_check;
        ALTER TABLE ledger_accounts ADD CONSTRAINT ledger_accounts_kind_check CHECK (kind IN (
            'prepaid', 'revenue', 'top_up_clearing', 'promotional', 'shortfall', 'upstream_cost', 'upstream_payable'));
        INSERT INTO ledger_accounts (kind)
            VALUES ('promotional'), ('shortfall'), ('upstream_cost'), ('upstream_payable');

        ALTER TABLE transactions DROP CONSTRAINT transactions_kind_check;
        ALTER TABLE transactions ADD CONSTRAINT transactions_kind_check CHECK (kind IN (
            'usage', 'top_up', 'promotion', 'voucher', 'refund', 'adjustment', 'correction'));
        ALTER TABLE transactions
            ADD COLUMN actor text NOT NULL DEFAULT '',
            ADD COLUMN tenant_id text NOT NULL DEFAULT '',
            ADD COLUMN corrects_transaction_id bigint REFERENCES transactions;
        CREATE INDEX transactions_of_tenant ON transactions (tenant_id, transaction_id) WHERE tenant_id <> '';

        -- A grant is a slice of a tenant's balance or, with a key_id, of that key's spend cap.
        ALTER TABLE grants
            ADD COLUMN key_id text NOT NULL DEFAULT '',
            ADD COLUMN held_nano bigint NOT NULL DEFAULT 0,
            ADD COLUMN abandoned boolean NOT NULL DEFAULT false;

        ALTER TABLE usage_records
            ADD COLUMN requests smallint NOT NULL DEFAULT 0,
            ADD COLUMN multiplier_ppm integer NOT NULL DEFAULT 1000000,
            ADD COLUMN key_grant_id text NOT NULL DEFAULT '',
            ADD COLUMN held_nano bigint NOT NULL DEFAULT 0,
            ADD COLUMN request_sha256 bytea NOT NULL DEFAULT '',
            ADD COLUMN response_sha256 bytea NOT NULL DEFAULT '',
            ADD COLUMN delivered_bytes bigint NOT NULL DEFAULT 0,
            ADD COLUMN idempotency_key text NOT NULL DEFAULT '',
            ADD COLUMN client_retry smallint NOT NULL DEFAULT 0,
            ADD COLUMN upstream_cost_nano bigint NOT NULL DEFAULT 0,
            ADD COLUMN cost_version bigint NOT NULL DEFAULT 0,
            ADD COLUMN shortfall_nano bigint NOT NULL DEFAULT 0;
        CREATE INDEX usage_in_order ON usage_records (transaction_id, request_id, attempt);
        CREATE INDEX usage_by_idempotency_key ON usage_records (tenant_id, idempotency_key)
            WHERE idempotency_key <> '';

        -- Balances could fall below zero. What is owed becomes our shortfall, and is noted on the usage that was not
        -- paid for: each tenant's last.
        UPDATE usage_records u SET shortfall_nano = part.nano
        FROM (
            SELECT r.request_id, r.attempt, r.created_at,
                least(r.cost_nano, r.cost_nano - a.balance_nano - sum(r.cost_nano) OVER (
                    PARTITION BY r.tenant_id ORDER BY r.created_at DESC, r.request_id DESC, r.attempt DESC)) AS nano
            FROM usage_records r JOIN ledger_accounts a ON a.kind = 'prepaid' AND a.tenant_id = r.tenant_id
            WHERE a.balance_nano < 0
        ) AS part
        WHERE part.nano > 0
            AND (u.request_id, u.attempt, u.created_at) = (part.request_id, part.attempt, part.created_at);
        INSERT INTO transactions (kind, tenant_id, reason)
            SELECT 'correction', tenant_id, 'a balance below zero became a shortfall'
            FROM ledger_accounts WHERE kind = 'prepaid' AND balance_nano < 0 ORDER BY tenant_id;
        INSERT INTO entries (transaction_id, debit_account_id, credit_account_id, amount_nano)
            SELECT t.transaction_id, s.ledger_account_id, a.ledger_account_id, -a.balance_nano
            FROM transactions t JOIN ledger_accounts a ON a.kind = 'prepaid' AND a.tenant_id = t.tenant_id
            JOIN ledger_accounts s ON s.kind = 'shortfall' WHERE t.kind = 'correction';
        UPDATE ledger_accounts SET balance_nano = (
            SELECT coalesce(sum(balance_nano), 0) FROM ledger_accounts WHERE kind = 'prepaid' AND balance_nano < 0
        ) WHERE kind = 'shortfall';
        UPDATE ledger_accounts SET balance_nano = 0 WHERE kind = 'prepaid' AND balance_nano < 0;

        -- What each key spent over its life, against its cap.
        CREATE TABLE key_spend (
            key_id text PRIMARY KEY,
            tenant_id text NOT NULL,
            spent_nano bigint NOT NULL
        );
        INSERT INTO key_spend SELECT key_id, min(tenant_id), sum(cost_nano) FROM usage_records GROUP BY key_id;

        -- Sums of usage_records by the hour in which the requests came in, kept in the booking transaction.
        CREATE TABLE usage_rollups (
            hour timestamptz NOT NULL,
            tenant_id text NOT NULL,
            key_id text NOT NULL,
            model text NOT NULL,
            upstream_account_id text NOT NULL,
            requests bigint NOT NULL,
            attempts bigint NOT NULL,
            estimated bigint NOT NULL,
            input_tokens bigint NOT NULL,
            output_tokens bigint NOT NULL,
            cache_read_tokens bigint NOT NULL,
            cache_write_5m_tokens bigint NOT NULL,
            cache_write_1h_tokens bigint NOT NULL,
            cost_nano bigint NOT NULL,
            upstream_cost_nano bigint NOT NULL,
            shortfall_nano bigint NOT NULL,
            PRIMARY KEY (tenant_id, hour, key_id, model, upstream_account_id)
        );
        INSERT INTO usage_rollups
            SELECT date_trunc('hour', created_at, 'UTC'), tenant_id, key_id, model, upstream_account_id,
                count(*) FILTER (WHERE final), count(*), count(*) FILTER (WHERE estimated),
                sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens),
                sum(cache_write_1h_tokens), sum(cost_nano), 0, sum(shortfall_nano)
            FROM usage_records GROUP BY 1, 2, 3, 4, 5;
        CREATE INDEX rollups_by_hour ON usage_rollups (hour);
        """
    )
