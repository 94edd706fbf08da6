"""Comparing the books with themselves: balances, entries, usage records and their sums, in one snapshot."""

from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import IsolationLevel

from services.shared.database import Pool

_SHOWN: Final = 5

_CHECKS: Final[dict[str, LiteralString]] = {
    "every balance is the sum of its entries": """
        SELECT a.kind || ' ' || a.tenant_id || ': balance ' || a.balance_nano || ', entries ' || coalesce(e.sum, 0)
        FROM ledger_accounts a LEFT JOIN (
            SELECT id, sum(amount) AS sum FROM (
                SELECT credit_account_id AS id, amount_nano AS amount FROM entries
                UNION ALL SELECT debit_account_id, -amount_nano FROM entries
            ) AS sides GROUP BY id
        ) e ON e.id = a.ledger_account_id
        WHERE a.balance_nano <> coalesce(e.sum, 0)
    """,
    "all balances sum to zero": """
        SELECT 'they sum to ' || sum(balance_nano) FROM ledger_accounts HAVING sum(balance_nano) <> 0
    """,
    "no prepaid balance is below zero": """
        SELECT tenant_id || ': ' || balance_nano FROM ledger_accounts WHERE kind = 'prepaid' AND balance_nano < 0
    """,
    "usage costs what its entries say": """
        SELECT coalesce(u.tenant_id, a.tenant_id) || ': usage ' || coalesce(u.cost, 0) || ', entries '
            || coalesce(a.charged, 0)
        FROM (
            SELECT tenant_id, sum(cost_nano - shortfall_nano) AS cost FROM usage_records GROUP BY tenant_id
        ) u FULL JOIN (
            SELECT p.tenant_id, sum(CASE WHEN e.debit_account_id = p.ledger_account_id THEN e.amount_nano
                ELSE -e.amount_nano END) AS charged
            FROM entries e JOIN transactions t USING (transaction_id)
            JOIN ledger_accounts p ON p.kind = 'prepaid'
                AND p.ledger_account_id IN (e.debit_account_id, e.credit_account_id)
            WHERE t.kind IN ('usage', 'correction') GROUP BY p.tenant_id
        ) a USING (tenant_id)
        WHERE coalesce(u.cost, 0) <> coalesce(a.charged, 0)
    """,
    "the shortfall is explained by usage records": """
        SELECT 'account ' || -a.balance_nano || ', records ' || u.sum
        FROM ledger_accounts a, (SELECT coalesce(sum(shortfall_nano), 0) AS sum FROM usage_records) u
        WHERE a.kind = 'shortfall' AND -a.balance_nano <> u.sum
    """,
    "the upstream's cost is explained by usage records": """
        SELECT 'account ' || -a.balance_nano || ', records ' || u.sum
        FROM ledger_accounts a, (SELECT coalesce(sum(upstream_cost_nano), 0) AS sum FROM usage_records) u
        WHERE a.kind = 'upstream_cost' AND -a.balance_nano <> u.sum
    """,
    "rollups sum up usage records": """
        SELECT coalesce(u.tenant_id, r.tenant_id) || ' ' || coalesce(u.hour, r.hour) || ' ' ||
            coalesce(u.key_id, r.key_id) || ': records ' || coalesce(u.sums::text, 'none') || ', rollups '
            || coalesce(r.sums::text, 'none')
        FROM (
            SELECT tenant_id, date_trunc('hour', created_at, 'UTC') AS hour, key_id, model, upstream_account_id,
                ROW(count(*) FILTER (WHERE final), count(*), count(*) FILTER (WHERE estimated),
                    sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cache_read_tokens)::bigint,
                    sum(cache_write_5m_tokens)::bigint, sum(cache_write_1h_tokens)::bigint, sum(cost_nano)::bigint,
                    sum(upstream_cost_nano)::bigint, sum(shortfall_nano)::bigint) AS sums
            FROM usage_records GROUP BY 1, 2, 3, 4, 5
        ) u FULL JOIN (
            SELECT tenant_id, hour, key_id, model, upstream_account_id,
                ROW(requests, attempts, estimated, input_tokens, output_tokens, cache_read_tokens,
                    cache_write_5m_tokens, cache_write_1h_tokens, cost_nano, upstream_cost_nano, shortfall_nano) AS sums
            FROM usage_rollups WHERE attempts <> 0
        ) r USING (tenant_id, hour, key_id, model, upstream_account_id)
        WHERE u.sums IS DISTINCT FROM r.sums
    """,
    "totals sum up rollups": """
        SELECT cut || ' ' || start_at || ' ' || tenant_id || ' ' || key_id || ': rollups '
            || coalesce(r.sums::text, 'none') || ', totals ' || coalesce(t.sums::text, 'none')
        FROM (
            SELECT CASE GROUPING(hour, tenant_id, key_id, model, upstream_account_id)
                    WHEN b'01101'::int THEN 'hour: model'
                    WHEN b'00101'::int THEN 'hour: tenant, model'
                    WHEN b'11100'::int THEN 'day: model, account'
                    WHEN b'10111'::int THEN 'day: tenant'
                    WHEN b'10100'::int THEN 'day: tenant, model, account'
                    WHEN b'10001'::int THEN 'day: tenant, key, model'
                END AS cut,
                coalesce(hour, day) AS start_at, coalesce(tenant_id, '') AS tenant_id, coalesce(key_id, '') AS key_id,
                coalesce(model, '') AS model, coalesce(upstream_account_id, '') AS upstream_account_id,
                ROW(sum(requests)::bigint, sum(attempts)::bigint, sum(estimated)::bigint,
                    sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cache_read_tokens)::bigint,
                    sum(cache_write_5m_tokens)::bigint, sum(cache_write_1h_tokens)::bigint, sum(cost_nano)::bigint,
                    sum(upstream_cost_nano)::bigint, sum(shortfall_nano)::bigint) AS sums
            FROM (SELECT *, date_trunc('day', hour, 'UTC') AS day FROM usage_rollups) AS rollups
            GROUP BY GROUPING SETS (
                (hour, day, model), (hour, day, tenant_id, model), (day, model, upstream_account_id), (day, tenant_id),
                (day, tenant_id, model, upstream_account_id), (day, tenant_id, key_id, model)
            )
        ) r FULL JOIN (
            SELECT cut, start_at, tenant_id, key_id, model, upstream_account_id,
                ROW(requests, attempts, estimated, input_tokens, output_tokens, cache_read_tokens,
                    cache_write_5m_tokens, cache_write_1h_tokens, cost_nano, upstream_cost_nano, shortfall_nano) AS sums
            FROM usage_totals
        ) t USING (cut, start_at, tenant_id, key_id, model, upstream_account_id)
        WHERE r.sums IS DISTINCT FROM t.sums
    """,
    "what keys spent is the sum of their usage": """
        SELECT coalesce(u.key_id, k.key_id) || ': records ' || coalesce(u.sum, 0) || ', spent '
            || coalesce(k.spent_nano, 0)
        FROM (SELECT key_id, sum(cost_nano) AS sum FROM usage_records GROUP BY key_id) u
        FULL JOIN key_spend k USING (key_id) WHERE coalesce(u.sum, 0) <> coalesce(k.spent_nano, 0)
    """,
    "no more is granted than there is": """
        SELECT tenant_id || ': balance ' || coalesce(a.balance_nano, 0) || ', granted ' || g.sum
        FROM (
            SELECT tenant_id, sum(amount_nano - spent_nano) AS sum
            FROM grants WHERE key_id = '' GROUP BY tenant_id
        ) g LEFT JOIN ledger_accounts a USING (tenant_id)
        WHERE (a.kind = 'prepaid' OR a.kind IS NULL) AND g.sum > coalesce(a.balance_nano, 0)
    """,
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and where it does not: the first few differences."""

    name: str
    differences: list[str]


class Verification:
    """Reads everything, changes nothing. Takes as long as there are records."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> list[Check]:
        """Every check."""
        checks = []
        async with self._pool.connection() as connection:
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            try:
                async with connection.transaction():
                    for name, query in _CHECKS.items():
                        found = await (await connection.execute(query)).fetchmany(_SHOWN)
                        checks.append(Check(name, [str(difference) for (difference,) in found]))
            finally:
                await connection.set_isolation_level(None)
        return checks
