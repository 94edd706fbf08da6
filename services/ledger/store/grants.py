"""Credit grants: slices of a tenant's balance or, with a key, of that key's spend cap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.ledger.expiry import UNBOOKED_KEEP_S
from services.ledger.store.queries import LOCKED_GRANTS, Connection, lock_accounts, row, row_or_none
from services.shared.database import Pool
from services.shared.telemetry import logger

_log = logger("grants")

_OUTSTANDING: Final = """
    SELECT
        coalesce(sum(left_nano), 0)::bigint,
        coalesce(sum(spare_nano) FILTER (WHERE grant_id <> %(grant)s AND NOT abandoned), 0)::bigint,
        coalesce(sum(left_nano) FILTER (WHERE abandoned), 0)::bigint
    FROM (
        SELECT greatest(amount_nano - spent_nano, 0) AS left_nano, grant_id, abandoned,
            greatest(amount_nano - greatest(spent_nano, settled_nano), 0) AS spare_nano
        FROM grants WHERE tenant_id = %(tenant)s AND key_id = %(key)s
    ) AS standing
"""
_RAISE: Final = """
    INSERT INTO grants (grant_id, tenant_id, key_id, holder, amount_nano, sequence, expires_at)
    VALUES (%s, %s, %s, %s, %s, %s, now() + make_interval(secs => %s))
    ON CONFLICT (grant_id) DO UPDATE
    SET amount_nano = excluded.amount_nano, sequence = excluded.sequence, expires_at = excluded.expires_at
"""
_LOWER: Final = """
    UPDATE grants SET amount_nano = least(amount_nano, greatest(%(committed)s, spent_nano)),
        settled_nano = greatest(settled_nano, %(settled)s), sequence = greatest(sequence, %(sequence)s)
    WHERE grant_id = %(grant)s AND (%(sequence)s = 0 OR sequence <= %(sequence)s)
"""
_RENEW: Final = (
    LOCKED_GRANTS.format(which="grant_id = ANY(%(grants)s) AND holder = %(holder)s AND NOT abandoned")
    + """
    UPDATE grants g SET expires_at = now() + make_interval(secs => %(ttl)s), held_nano = r.held_nano
    FROM locked, unnest(%(grants)s::text[], %(held)s::bigint[]) AS r (grant_id, held_nano)
    WHERE g.grant_id = locked.grant_id AND r.grant_id = g.grant_id RETURNING g.grant_id
"""
)
_ABANDON: Final = (
    LOCKED_GRANTS.format(
        which="""
        holder = %(holder)s AND NOT abandoned AND (%(before)s = '' OR grant_id COLLATE "C" < %(before)s)
    """
    )
    + """
    UPDATE grants g SET abandoned = true, held_nano = 0, expires_at = now() + make_interval(secs => %(grace)s)
    FROM locked WHERE g.grant_id = locked.grant_id
"""
)
_ALONE: Final = "SELECT pg_try_advisory_xact_lock(hashtext('tollhouse.expiry'))"
_ENDED: Final = """
    ((abandoned AND expires_at < to_timestamp(%(abandoned)s)) OR expires_at < to_timestamp(%(unrenewed)s))
"""
_UNBOOKED: Final = """
    (spent_nano < settled_nano AND expires_at >= clock_timestamp() - make_interval(secs => %(keep)s))
"""
_KEEP: Final = (
    LOCKED_GRANTS.format(which=f"{_ENDED} AND {_UNBOOKED} AND (amount_nano > settled_nano OR held_nano > 0)")
    + """
    UPDATE grants g SET amount_nano = least(g.amount_nano, g.settled_nano), held_nano = 0
    FROM locked WHERE g.grant_id = locked.grant_id
"""
)
_EXPIRE: Final = (
    LOCKED_GRANTS.format(which=f"{_ENDED} AND NOT {_UNBOOKED}")
    + """
    DELETE FROM grants g USING locked WHERE g.grant_id = locked.grant_id
    RETURNING g.amount_nano > g.spent_nano, g.grant_id, g.tenant_id, g.settled_nano - g.spent_nano
"""
)


@dataclass(frozen=True, slots=True)
class Raised:
    """A grant after it was raised; nano-dollars."""

    granted_nano: int
    available_nano: int
    """Outside all grants."""
    elsewhere_nano: int
    """Unspent in other grants: those of other holders, and what this one is giving back just now."""
    abandoned_nano: int
    """Unspent in grants that were abandoned."""
    lost: bool = False
    """It ended, and its holder does not know: nothing was set aside."""


class GrantStore:
    """What auth places holds in."""

    def __init__(self, pool: Pool, unbooked_keep_s: float = UNBOOKED_KEEP_S) -> None:
        self._pool = pool
        self._unbooked_keep_s = unbooked_keep_s

    async def raise_grant(
        self,
        grant_id: str,
        tenant_id: str,
        holder: str,
        want_nano: int,
        ttl_s: float,
        key_id: str,
        key_cap_nano: int,
        believed_nano: int = 0,
        sequence: int = 0,
    ) -> Raised:
        """Raises a grant's total towards `want_nano` as far as the balance, or the key's cap, goes (I2).

        A grant that its holder believes to be of `believed_nano` is not made anew when it has ended: what the holder
        wants counts in all that was spent of the old one, which would be set aside once more. What a later `sequence`
        has overtaken changes nothing.
        """
        async with self._pool.connection() as connection, connection.transaction():
            balance_nano = (await lock_accounts(connection, [tenant_id]))[tenant_id]
            whole_nano = key_cap_nano - await _spent(connection, key_id) if key_id else balance_nano
            outstanding, elsewhere, abandoned = await _outstanding(connection, tenant_id, key_id, grant_id)
            available_nano = max(0, whole_nano - outstanding)
            grant = await row_or_none(
                connection,
                "SELECT amount_nano, abandoned, sequence FROM grants WHERE grant_id = %s FOR UPDATE",
                (grant_id,),
            )
            if grant is None and believed_nano:
                return Raised(0, available_nano, elsewhere, abandoned, lost=True)
            amount_nano, gone, newest = grant or (0, False, 0)
            if gone or 0 < sequence < newest:  # asked for by a holder that is gone, or overtaken
                return Raised(amount_nano, available_nano, elsewhere, abandoned)
            growth_nano = max(0, min(want_nano - amount_nano, available_nano))
            granted_nano = amount_nano + growth_nano
            order = max(sequence, newest)
            await connection.execute(_RAISE, (grant_id, tenant_id, key_id, holder, granted_nano, order, ttl_s))
            return Raised(granted_nano, available_nano - growth_nano, elsewhere, abandoned)

    async def renew_grants(
        self, holder: str, grant_ids: Sequence[str], held_nano: Sequence[int], ttl_s: float
    ) -> list[str]:
        """Puts off the expiry of those of a holder's grants that are open still, notes what is held in them, and
        answers them."""
        if not grant_ids:
            return []
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                _RENEW.encode(),
                {"ttl": ttl_s, "grants": list(grant_ids), "held": list(held_nano), "holder": holder},
            )
            return [str(found[0]) for found in await cursor.fetchall()]

    async def lower_grant(self, grant_id: str, committed_nano: int, settled_nano: int = 0, sequence: int = 0) -> None:
        """Lowers a grant to what is committed in it, and never below what was spent of it. Notes what was settled. What
        a later `sequence` has overtaken changes nothing: the grant was raised since."""
        lowering = {"grant": grant_id, "committed": committed_nano, "settled": settled_nano, "sequence": sequence}
        async with self._pool.connection() as connection:
            await connection.execute(_LOWER, lowering)

    async def abandon_grants(self, holder: str, grace_s: float, before_grant_id: str = "") -> int:
        """A holder started anew: its earlier grants, those with an id before `before_grant_id`, end in `grace_s`.
        Answers how many."""
        earlier = {"holder": holder, "grace": grace_s, "before": before_grant_id}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_ABANDON.encode(), earlier)
            return cursor.rowcount

    async def database_s(self) -> float:
        """The database's own time, in Unix seconds: the clock by which grants end."""
        async with self._pool.connection() as connection:
            return float((await row(connection, "SELECT extract(epoch FROM clock_timestamp())", ()))[0])

    async def expire_grants(self, abandoned_until_s: float, unrenewed_until_s: float | None) -> int:
        """Deletes abandoned grants that ended before the one instant, and others that nobody renewed and that ended
        before the other; those not at all with None. Instants are the database's Unix seconds. Answers how many had
        something left; 0 while another replica does the same.

        What a holder settled in a grant may wait in an edge that is cut off from NATS: the rest of such a grant ends,
        but so much stays until it is booked, or for `unbooked_keep_s`.
        """
        parameters = {
            "abandoned": abandoned_until_s,
            "unrenewed": unrenewed_until_s,
            "keep": self._unbooked_keep_s,
        }
        async with self._pool.connection() as connection, connection.transaction():
            (alone,) = await row(connection, _ALONE, ())
            if not alone:
                return 0
            await connection.execute(_KEEP.encode(), parameters)
            ended = await (await connection.execute(_EXPIRE.encode(), parameters)).fetchall()
        for _, grant_id, tenant_id, unbooked_nano in ended:
            if unbooked_nano > 0:
                _log.warning("grant_ended_unbooked", grant_id=grant_id, tenant_id=tenant_id, nano=unbooked_nano)
        return sum(1 for left, *_ in ended if left)


async def _spent(connection: Connection, key_id: str) -> int:
    found = await row_or_none(connection, "SELECT spent_nano FROM key_spend WHERE key_id = %s", (key_id,))
    return int(found[0]) if found else 0


async def _outstanding(connection: Connection, tenant_id: str, key_id: str, grant_id: str) -> tuple[int, int, int]:
    found = await (
        await connection.execute(_OUTSTANDING, {"tenant": tenant_id, "key": key_id, "grant": grant_id})
    ).fetchone()
    return (int(found[0]), int(found[1]), int(found[2])) if found else (0, 0, 0)
