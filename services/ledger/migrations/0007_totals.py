"""Totals beside the rollups; usage found by key and by how it ended; history of credit by its tenant."""
# ruff: noqa: S608  # statements are composed of constants

from typing import Final

from alembic import op

revision = "0007"
down_revision = "0006"

_SUMS: Final = (
    "requests",
    "attempts",
    "estimated",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cost_nano",
    "upstream_cost_nano",
    "shortfall_nano",
)
_COLUMNS: Final = ", ".join(_SUMS)


def _add(changes: str) -> str:
    """The statement that adds changes of rollups to every cut that they are part of."""
    return f"""
        INSERT INTO usage_totals AS t
            (cut, start_at, tenant_id, key_id, model, upstream_account_id, {_COLUMNS})
        SELECT CASE GROUPING(hour, tenant_id, key_id, model, upstream_account_id)
                WHEN b'01101'::int THEN 'hour: model'
                WHEN b'00101'::int THEN 'hour: tenant, model'
                WHEN b'11100'::int THEN 'day: model, account'
                WHEN b'10111'::int THEN 'day: tenant'
                WHEN b'10100'::int THEN 'day: tenant, model, account'
                WHEN b'10001'::int THEN 'day: tenant, key, model'
            END,
            coalesce(hour, day), coalesce(tenant_id, ''), coalesce(key_id, ''), coalesce(model, ''),
            coalesce(upstream_account_id, ''), {", ".join(f"sum({name})" for name in _SUMS)}
        FROM (SELECT *, date_trunc('day', hour, 'UTC') AS day FROM {changes}) AS changes
        GROUP BY GROUPING SETS (
            (hour, day, model), (hour, day, tenant_id, model), (day, model, upstream_account_id), (day, tenant_id),
            (day, tenant_id, model, upstream_account_id), (day, tenant_id, key_id, model)
        )
        ORDER BY 1, 3, 2, 4, 5, 6
        ON CONFLICT (cut, tenant_id, start_at, key_id, model, upstream_account_id) DO UPDATE SET
            {", ".join(f"{name} = t.{name} + excluded.{name}" for name in _SUMS)};
    """


_DIFFERENCE: Final = f"""
    (
        SELECT hour, tenant_id, key_id, model, upstream_account_id, {_COLUMNS} FROM gained
        UNION ALL
        SELECT hour, tenant_id, key_id, model, upstream_account_id, {", ".join(f"-{name}" for name in _SUMS)} FROM lost
    ) AS difference
"""


def upgrade() -> None:
    op.execute(
        f"""
        SELECT pg_advisory_xact_lock(hashtext('tollhouse.booking')); -- as 0006 says

        -- Rollups tell every key, model and upstream account of every hour apart: for a tenant with many keys they are
        -- nearly as many as its requests. Totals are the same sums, cut as pages ask for them. What a cut does not
        -- tell apart is ''.
        CREATE TABLE usage_totals (
            cut text NOT NULL CHECK (cut IN ('hour: model', 'hour: tenant, model', 'day: model, account',
                'day: tenant', 'day: tenant, model, account', 'day: tenant, key, model')),
            start_at timestamptz NOT NULL,
            tenant_id text NOT NULL,
            key_id text NOT NULL,
            model text NOT NULL,
            upstream_account_id text NOT NULL,
            {", ".join(f"{name} bigint NOT NULL" for name in _SUMS)},
            PRIMARY KEY (cut, tenant_id, start_at, key_id, model, upstream_account_id)
        ) WITH (fillfactor = 80); -- those of the hour and the day are updated in place, booking after booking

        -- Whatever changes rollups changes totals in the same transaction: bookings, corrections, shortfalls.
        CREATE FUNCTION add_to_totals() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                {_add("gained")}
            ELSE
                {_add(_DIFFERENCE)}
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER totals_of_new AFTER INSERT ON usage_rollups
            REFERENCING NEW TABLE AS gained FOR EACH STATEMENT EXECUTE FUNCTION add_to_totals();
        CREATE TRIGGER totals_of_changed AFTER UPDATE ON usage_rollups
            REFERENCING OLD TABLE AS lost NEW TABLE AS gained FOR EACH STATEMENT EXECUTE FUNCTION add_to_totals();
        {_add("usage_rollups")}

        -- The first movements by hand did not say whose they are; those since 0002 do.
        ALTER TABLE transactions DISABLE TRIGGER immutable;
        UPDATE transactions t SET tenant_id = a.tenant_id
            FROM entries e JOIN ledger_accounts a ON a.kind = 'prepaid'
                AND a.ledger_account_id IN (e.debit_account_id, e.credit_account_id)
            WHERE e.transaction_id = t.transaction_id AND t.kind <> 'usage' AND t.tenant_id = '';
        ALTER TABLE transactions ENABLE TRIGGER immutable;

        CREATE INDEX rollups_of_key ON usage_rollups (tenant_id, key_id, hour);
        CREATE INDEX usage_of_key ON usage_records (tenant_id, key_id, created_at, request_id);
        -- Nearly all requests end well: the others are found without reading those.
        CREATE INDEX usage_by_status ON usage_records (tenant_id, status, created_at, request_id) WHERE status <> 1;
        """
    )
