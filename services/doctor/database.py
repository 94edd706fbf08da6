"""Postgres: whether it answers, is new enough, has the newest schema and the right time, and what stands in the books
that should not."""

from collections.abc import Iterator
from typing import Final

import psycopg

from services.doctor.finding import Finding, fault, ok, warning
from services.migrate import SERVICES, newest_of, revision_of
from services.shared import clock

_ABOUT: Final = "postgres"
_OLDEST: Final = 15
_TIMEOUT_S: Final = 5
_OVERDUE_S: Final = 600
_OVERDUE: Final = """
    SELECT count(*), count(*) FILTER (WHERE spent_nano < settled_nano), coalesce(sum(amount_nano - spent_nano), 0)
    FROM ledger.grants WHERE expires_at < now() - make_interval(secs => %s)
"""
_PEPPERS: Final = """
    SELECT pepper_id, count(*) FROM auth.keys GROUP BY pepper_id ORDER BY max(hashed_at) DESC
"""
_NANO: Final = 1_000_000_000


def examine(url: str, skew_max_s: float) -> Iterator[Finding]:
    """Looks at the database of a libpq URL."""
    try:
        with psycopg.connect(url, connect_timeout=_TIMEOUT_S, autocommit=True) as connection:
            yield _version(connection)
            yield _clock(connection, skew_max_s)
            yield from _schemas(connection)
            if revision_of(connection, "ledger"):
                yield _grants(connection)
            if revision_of(connection, "auth") == newest_of("auth"):
                yield _peppers(connection)
    except psycopg.Error as error:
        yield fault(
            _ABOUT,
            f"cannot be used: {str(error).strip()}",
            "Start Postgres, or mend the URL. Requests go on inside the credit that auth has been granted already",
        )


def _version(connection: psycopg.Connection) -> Finding:
    version = connection.info.server_version // 10_000
    if version < _OLDEST:
        return fault(_ABOUT, f"version {version}", f"Upgrade Postgres to {_OLDEST} or later")
    return ok(_ABOUT, f"version {version}")


def _clock(connection: psycopg.Connection, skew_max_s: float) -> Finding:
    before_s = clock.now_ms() / clock.MS_PER_S
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    after_s = clock.now_ms() / clock.MS_PER_S
    assert row is not None
    skew_s = max(before_s - row[0], row[0] - after_s, 0.0)  # as if the answer was taken at the kindest moment
    if skew_s > skew_max_s:
        return fault(
            "clocks",
            f"this machine and Postgres differ by {skew_s:.1f} s",
            "Have all machines follow the same time servers (chrony, ntpd): limits and usage go by their clocks",
        )
    return ok("clocks", "this machine and Postgres agree")


def _schemas(connection: psycopg.Connection) -> Iterator[Finding]:
    for service in SERVICES:
        about, here, there = f"schema {service}", newest_of(service), revision_of(connection, service)
        if there == here:
            yield ok(about, f"revision {there}")
        elif there is None or there < here:
            yield fault(about, f"revision {there or 'none'}, this release needs {here}", "Run `tollhouse migrate`")
        else:
            yield warning(
                about,
                f"revision {there}, this release knows {here} as the newest",
                "A newer release has migrated the database: finish the upgrade, or go on with it",
            )


def _peppers(connection: psycopg.Connection) -> Finding:
    """Under which peppers keys are: while one is changed, those that would be refused if the old one was forgotten."""
    counted: dict[bytes | None, int] = dict(connection.execute(_PEPPERS).fetchall())
    unknown = counted.pop(None, 0)
    parts = [f"{count} under {pepper_id.hex()}" for pepper_id, count in counted.items() if pepper_id]
    if unknown:
        parts.append(f"{unknown} not used since peppers are noted")
    seen = ", ".join(parts) or "there is none"
    if len(counted) + bool(unknown) > 1:
        return warning(
            "pepper of keys",
            f"it is being changed, or was: {seen}",
            "Auth logs the one that it puts first as `pepper_of_keys` when it starts. Keys under others, and perhaps"
            " those that were not used, are refused once the others are forgotten: have them used before",
        )
    return ok("pepper of keys", seen)


def _grants(connection: psycopg.Connection) -> Finding:
    row = connection.execute(_OVERDUE, (_OVERDUE_S,)).fetchone()
    assert row is not None
    count, unbooked, left_nano = row
    if not count:
        return ok("grants", "none is overdue")
    seen = f"{count} ended over {_OVERDUE_S // 60} minutes ago and still set ${left_nano / _NANO:.2f} aside"
    if unbooked:
        return warning(
            "grants",
            f"{seen}; of {unbooked} something that was settled is not booked",
            "Look for an edge that is cut off from NATS, a journal that nobody replays (`tollhouse journal show`) and"
            " dead letters",
        )
    return warning("grants", seen, "See whether a ledger runs, and its log for grant_expiry_postponed")
