"""What stood at the end: what the simulator served, what was booked, what is held, and whether the two agree."""

import json
from collections import Counter, defaultdict
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.deployment import Deployment, Tenant, request
from tollhouse.v1 import auth_pb2

NOT_FINAL = ("interrupted", "orphaned", "client_gone", "credit_exhausted")
STATUSES = {
    1: "ok",
    2: "client_fault",
    3: "upstream_fault",
    4: "interrupted",
    5: "client_gone",
    6: "credit_exhausted",
    7: "orphaned",
}


def secrets(tollhouse: Deployment) -> dict[str, str]:
    return dict(json.loads((tollhouse.state_dir / "secrets.json").read_text()))


def address(tollhouse: Deployment, part: str) -> str:
    return str(json.loads((tollhouse.state_dir / "run.json").read_text())["addresses"][part])


def rows(tollhouse: Deployment, query: str) -> list[dict[str, Any]]:
    """What the database says, past every service."""
    place = address(tollhouse, "postgres").removeprefix("postgresql://")
    url = f"postgresql://tollhouse:{secrets(tollhouse)['postgres']}@{place}"
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


def held(tollhouse: Deployment, tenants: list[Tenant]) -> int:
    """Holds that stand, at every replica of auth."""
    return sum(
        auth.GetCredit(auth_pb2.GetCreditRequest(tenant_id=tenant.tenant_id), timeout=5).holds
        for auth in tollhouse.auths
        for tenant in tenants
    )


def served_by_key(tollhouse: Deployment) -> dict[str, list[dict[str, Any]]]:
    """What the simulator saw, by idempotency key."""
    listed = request(tollhouse.simulator_url, "GET", "/__served/requests?last=1000000", timeout_s=60).json()
    found = defaultdict(list)
    for entry in listed["requests"]:
        found[dict(entry["headers"])["idempotency-key"]].append(entry)
    return found


def booked_by_key(tollhouse: Deployment) -> dict[str, list[dict[str, Any]]]:
    """What the ledger booked, by idempotency key."""
    found = defaultdict(list)
    for row in rows(tollhouse, "SELECT * FROM ledger.usage_records"):
        found[row["idempotency_key"]].append(row | {"said": STATUSES[row["status"]]})
    return found


def table(lines: list[tuple[str, object]]) -> str:
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"  {name.ljust(width)}  {value}" for name, value in lines)


def compare(served: dict[str, list[dict[str, Any]]], booked: dict[str, list[dict[str, Any]]]) -> int:
    """Holds the records that name their upstream request against what the simulator counted; answers how many did."""
    by_upstream_id = {entry["request_id"]: entry for entries in served.values() for entry in entries}
    exact = 0
    named: Counter[str] = Counter()
    for records in booked.values():
        for row in records:
            entry = by_upstream_id.get(row["upstream_request_id"])
            if entry is None:
                continue
            named[row["upstream_request_id"]] += 1
            tokens = {
                name: row[f"{name}_tokens"]
                for name in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
            }
            if row["said"] == "ok" and not row["estimated"]:
                assert tokens == entry["tokens"], row
                exact += 1
            elif row["said"] == "upstream_fault":
                assert row["cost_nano"] == 0, row
            else:
                assert row["said"] in NOT_FINAL, row
    assert max(named.values()) == 1
    return exact
