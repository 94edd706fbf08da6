"""Reading usage: REST for clients, gRPC for internal services, who may see what, and watches that miss nothing."""

import functools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import grpc
import psycopg
import pytest

from services.shared import ids
from tests.deployment import MODEL, Answer, Deployment, Tenant, deployed, eventually
from tollhouse.v1 import (
    billing_pb2,
    billing_pb2_grpc,
    tokens_pb2,
    types_pb2,
    usage_pb2,
    usage_pb2_grpc,
)

WATCH_S = 20


def get(tollhouse: Deployment, key: str, path: str, **query: object) -> Answer:
    text = f"{path}?{urlencode(query)}" if query else path
    return tollhouse.call("GET", text, {"x-api-key": key})


def asked(tollhouse: Deployment, tenant: Tenant, **options: Any) -> str:
    """The id of a request that is booked."""
    request_id = tollhouse.messages(tenant.key, **options).headers["x-request-id"]
    assert get(tollhouse, tenant.key, f"/v1/usage/{request_id}").status == 200
    return request_id


def token(tollhouse: Deployment, **fields: Any) -> tokens_pb2.CreateTokenResponse:
    fields = dict[str, Any](name="test", scope=tokens_pb2.TOKEN_SCOPE_USAGE) | fields
    return tollhouse.tokens.CreateToken(tokens_pb2.CreateTokenRequest(**fields))


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    """The status and the catalogue kind that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    trailers: dict[str, Any] = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type]
    detail = types_pb2.ErrorDetail.FromString(trailers.get("tollhouse-error-bin", b""))
    return caught.value.code(), detail.kind


def database(tollhouse: Deployment) -> psycopg.Connection:
    secrets = json.loads((tollhouse.state_dir / "secrets.json").read_text())
    run = json.loads((tollhouse.state_dir / "run.json").read_text())
    server = urlsplit(run["addresses"]["postgres"])
    return psycopg.connect(
        host=server.hostname,
        port=server.port,
        user="tollhouse_ledger",
        password=secrets["ledger"],
        dbname="tollhouse",
        autocommit=True,
    )


# ---- REST ----


def test_a_request_shows_each_of_its_attempts(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    usage = get(tollhouse, tenant.key, f"/v1/usage/{asked(tollhouse, tenant)}").json()
    [attempt] = usage["attempts_detail"]
    assert (attempt["attempt"], attempt["status"], attempt["http_status"]) == (1, "ok", 200)
    assert attempt["upstream_model"] == MODEL
    for name in ("input_tokens", "output_tokens", "cost_nano", "estimated"):
        assert attempt[name] == usage[name]
    assert usage["multiplier_ppm"] == 1_000_000
    assert usage["key_id"] == tenant.key_id


def test_pages_list_every_request_once_newest_first(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    made = [asked(tollhouse, tenant) for _ in range(5)]
    listed: list[str] = []
    query: dict[str, object] = {"limit": 2}
    while True:
        page = get(tollhouse, tenant.key, "/v1/usage", **query).json()
        listed += [usage["request_id"] for usage in page["data"]]
        if not page["has_more"]:
            assert page["next_cursor"] is None
            break
        query["cursor"] = page["next_cursor"]
    assert listed == sorted(made, reverse=True)


def test_a_list_holds_what_its_filters_let_through(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    good, bad = asked(tollhouse, tenant), asked(tollhouse, tenant, simulator="status=400")
    usage = get(tollhouse, tenant.key, f"/v1/usage/{good}").json()

    def listed(**query: object) -> set[str]:
        answer = get(tollhouse, tenant.key, "/v1/usage", **query)
        assert answer.status == 200, answer.body
        return {usage["request_id"] for usage in answer.json()["data"]}

    assert listed() == {good, bad}
    assert listed(status="ok") == {good}
    assert listed(status="client_fault") == {bad}
    assert listed(key_id=tenant.key_id, model=MODEL) == {good, bad}
    assert listed(key_id="key_other") == listed(model="other") == listed(idempotency_key="other") == set()
    assert listed(to=usage["created_at"]) == set()
    assert good in listed(**{"from": usage["created_at"]})
    assert listed(**{"from": int(time.time()) + 60}) == set()


@pytest.mark.parametrize(
    ("path", "parameter", "value"),
    [
        ("/v1/usage", "limit", "0"),
        ("/v1/usage", "limit", "1001"),
        ("/v1/usage", "cursor", "nonsense"),
        ("/v1/usage", "status", "fine"),
        ("/v1/usage", "from", "yesterday"),
        ("/v1/usage", "to", "2026-01-31T12:00:00"),
        ("/v1/usage", "model", "a\0b"),
        ("/v1/usage", "colour", "red"),
        ("/v1/usage/summary", "by", "week"),
        ("/v1/usage/summary", "group", "tenant"),
        ("/v1/usage/summary", "from", "2000-01-01T00:00:00Z"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(tollhouse: Deployment, path: str, parameter: str, value: str) -> None:
    answer = get(tollhouse, tollhouse.key, path, **{parameter: value})
    assert answer.status == 400
    assert re.match(rf"{parameter}\b", answer.json()["error"]["message"])


def test_a_tenant_sees_only_its_own(tollhouse: Deployment) -> None:
    mine, other = tollhouse.tenant(), tollhouse.tenant(dollars=3)
    request_id = asked(tollhouse, mine)
    for path in (f"/v1/usage/{request_id}", f"/v1/usage/{request_id}/receipt"):
        assert get(tollhouse, other.key, path).status == 404
        assert tollhouse.call("GET", path).status == 401
    assert get(tollhouse, other.key, "/v1/usage").json()["data"] == []
    assert get(tollhouse, other.key, "/v1/balance").json()["balance_nano"] == 3_000_000_000


def test_the_balance_tells_what_is_there_what_is_held_and_what_is_left(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=2)
    asked(tollhouse, tenant)
    eventually(lambda: get(tollhouse, tenant.key, "/v1/balance").json()["held_nano"] == 0, what="nothing is held")
    balance = get(tollhouse, tenant.key, "/v1/balance").json()
    assert balance["balance_nano"] == tollhouse.balance_nano(tenant.tenant_id) < 2_000_000_000
    assert balance["available_nano"] == balance["balance_nano"] - balance["held_nano"]
    assert balance["balance_micro"] == round(balance["balance_nano"] / 1000)


def rollups(tollhouse: Deployment, tenant_id: str) -> None:
    """Two days of sums: two hours, two keys, two models; each row a request of a dollar that cost us half."""
    with database(tollhouse) as connection:
        for hour in ("2026-03-01T10:00Z", "2026-03-01T11:00Z", "2026-03-02T00:00Z"):
            for key, model in (("k1", "opus"), ("k1", "haiku"), ("k2", "opus")):
                connection.execute(
                    "INSERT INTO usage_rollups VALUES (%s, %s, %s, %s, 'acc', 1, 2, 0, 10, 20, 0, 0, 0, %s, %s, 0)",
                    (hour, tenant_id, key, model, 10**9, 5 * 10**8),
                )


def test_a_summary_tells_hours_days_keys_and_models_apart(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    rollups(tollhouse, tenant.tenant_id)

    def summary(**query: object) -> list[dict[str, Any]]:
        span = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-03T00:00:00+00:00"}
        answer = get(tollhouse, tenant.key, "/v1/usage/summary", **(span | query))
        assert answer.status == 200, answer.body
        data: list[dict[str, Any]] = answer.json()["data"]
        return data

    days = summary(by="day")
    assert [(day["start"], day["requests"], day["cost_nano"]) for day in days] == [
        ("2026-03-01T00:00:00.000Z", 6, 6 * 10**9),
        ("2026-03-02T00:00:00.000Z", 3, 3 * 10**9),
    ]
    assert not any("upstream" in name or "margin" in name for day in days for name in day)
    assert len(summary(by="hour")) == 3
    assert len(summary(by="hour", to="2026-03-01T10:00:01Z")) == 1
    assert {(row["key_id"], row["requests"]) for row in summary(by="day", group="key")} == {
        ("k1", 4),
        ("k2", 2),
        ("k1", 2),
        ("k2", 1),
    }
    assert {row["model"] for row in summary(group="model")} == {"opus", "haiku"}
    assert len(summary(by="day", group="key,model")) == 6


def test_margins_are_for_those_who_read_all_tenants(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    rollups(tollhouse, tenant.tenant_id)
    request = usage_pb2.SummarizeUsageRequest(
        tenant_id=tenant.tenant_id,
        period=usage_pb2.USAGE_PERIOD_DAY,
        groups=[usage_pb2.USAGE_GROUP_UPSTREAM_ACCOUNT, usage_pb2.USAGE_GROUP_TENANT],
        from_ms=1_772_323_200_000,
        to_ms=1_772_496_000_000,
    )
    buckets = tollhouse.usage.SummarizeUsage(request).buckets
    assert [(b.upstream_account_id, b.tenant_id, b.margin_nano) for b in buckets] == [
        ("acc", tenant.tenant_id, 3 * 10**9),
        ("acc", tenant.tenant_id, 15 * 10**8),
    ]
    own = tollhouse.usage_with(token(tollhouse, tenant_id=tenant.tenant_id).secret)
    assert refused(lambda: own.SummarizeUsage(request)) == (grpc.StatusCode.PERMISSION_DENIED, "token_scope")
    request.groups.pop(0)
    assert not any(
        b.HasField("margin_nano") or b.HasField("upstream_cost_nano") for b in own.SummarizeUsage(request).buckets
    )


# ---- service tokens ----


def test_every_call_needs_a_token_and_health_needs_none(tollhouse: Deployment) -> None:
    with grpc.insecure_channel(tollhouse.ready["usage_grpc"]) as channel:
        usage = usage_pb2_grpc.UsageServiceStub(channel)
        billing = billing_pb2_grpc.BillingServiceStub(channel)
        missing = (grpc.StatusCode.UNAUTHENTICATED, "token_missing")
        assert refused(lambda: usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id="demo"))) == missing
        assert refused(lambda: next(usage.WatchUsage(usage_pb2.WatchUsageRequest()))) == missing
        assert refused(lambda: billing.ListPrices(billing_pb2.ListPricesRequest())) == missing
        unknown = (grpc.StatusCode.UNAUTHENTICATED, "token_unknown")
        for shown in ("Bearer thst_nobody", "Bearer " + "x" * 300):
            metadata = (("authorization", shown),)
            call = functools.partial(billing.ListPrices, billing_pb2.ListPricesRequest(), metadata=metadata)
            assert refused(call) == unknown


def test_a_token_that_reads_usage_does_nothing_else(tollhouse: Deployment) -> None:
    channel = grpc.insecure_channel(tollhouse.ready["usage_grpc"])
    metadata = (("authorization", f"Bearer {tollhouse.ready['usage_token']}"),)
    denied = (grpc.StatusCode.PERMISSION_DENIED, "token_scope")
    billing = billing_pb2_grpc.BillingServiceStub(channel)
    top_up = billing_pb2.TopUpRequest(tenant_id="demo", amount_nano=1, idempotency_key="no", reason="no")
    assert refused(lambda: billing.TopUp(top_up, metadata=metadata)) == denied
    assert refused(lambda: billing.ListPrices(billing_pb2.ListPricesRequest(), metadata=metadata)) == denied
    channel.close()


def test_a_tenants_token_sees_nothing_of_another_tenant(tollhouse: Deployment) -> None:
    mine, other = tollhouse.tenant(), tollhouse.tenant()
    asked(tollhouse, mine)
    foreign = asked(tollhouse, other)
    usage = tollhouse.usage_with(token(tollhouse, tenant_id=mine.tenant_id).secret)
    gone, denied = (grpc.StatusCode.NOT_FOUND, "usage_unknown"), (grpc.StatusCode.PERMISSION_DENIED, "token_scope")
    them = other.tenant_id
    assert refused(lambda: usage.GetUsage(usage_pb2.GetUsageRequest(request_id=foreign))) == gone
    assert refused(lambda: usage.GetReceipt(usage_pb2.GetReceiptRequest(request_id=foreign))) == gone
    batch = usage.BatchGetUsage(usage_pb2.BatchGetUsageRequest(request_ids=[foreign]))
    assert (list(batch.usages), list(batch.missing_request_ids)) == ([], [foreign])
    assert {u.tenant_id for u in usage.ListUsage(usage_pb2.ListUsageRequest()).usages} == {mine.tenant_id}
    assert usage.GetBalance(usage_pb2.GetBalanceRequest()).balance_nano == tollhouse.balance_nano(mine.tenant_id)
    calls: list[Callable[[], Any]] = [
        lambda: usage.GetUsage(usage_pb2.GetUsageRequest(request_id=foreign, tenant_id=them)),
        lambda: usage.GetReceipt(usage_pb2.GetReceiptRequest(request_id=foreign, tenant_id=them)),
        lambda: usage.BatchGetUsage(usage_pb2.BatchGetUsageRequest(request_ids=[foreign], tenant_id=them)),
        lambda: usage.ListUsage(usage_pb2.ListUsageRequest(tenant_id=them)),
        lambda: usage.SummarizeUsage(
            usage_pb2.SummarizeUsageRequest(tenant_id=them, period=usage_pb2.USAGE_PERIOD_DAY)
        ),
        lambda: usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=them)),
        lambda: next(usage.WatchUsage(usage_pb2.WatchUsageRequest(tenant_id=them))),
    ]
    for call in calls:
        assert refused(call) == denied
    rollups(tollhouse, them)
    summary = usage_pb2.SummarizeUsageRequest(
        period=usage_pb2.USAGE_PERIOD_DAY, from_ms=1_772_323_200_000, to_ms=1_772_496_000_000
    )
    assert list(usage.SummarizeUsage(summary).buckets) == []
    beginning = usage_pb2.WatchUsageRequest(start=usage_pb2.WATCH_START_BEGINNING)
    first = next(usage.WatchUsage(beginning, timeout=WATCH_S))
    assert {attempt.tenant_id for attempt in first.attempts} == {mine.tenant_id}
    assert not any(a.upstream_account_id or a.HasField("upstream_cost_nano") for a in first.attempts)


def test_a_revoked_or_expired_token_is_good_no_more(tollhouse: Deployment) -> None:
    made = token(tollhouse)
    usage = tollhouse.usage_with(made.secret)
    usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id="demo"))
    tollhouse.tokens.RevokeToken(tokens_pb2.RevokeTokenRequest(token_id=made.token.token_id))

    def refuses() -> bool:
        try:
            usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id="demo"))
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
        return False

    eventually(refuses, within_s=4, what="the revoked token is refused before its cache time is over")
    listed = {t.token_id: t for t in tollhouse.tokens.ListTokens(tokens_pb2.ListTokensRequest()).tokens}
    assert listed[made.token.token_id].revoked_ms > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", listed[made.token.token_id].last_used_on)
    short = token(tollhouse, expires_ms=int(time.time() * 1000) + 300)
    time.sleep(0.5)
    kind = refused(lambda: tollhouse.usage_with(short.secret).GetReceiptKeys(usage_pb2.GetReceiptKeysRequest()))
    assert kind == (grpc.StatusCode.UNAUTHENTICATED, "token_unknown")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"scope": tokens_pb2.TOKEN_SCOPE_UNSPECIFIED},
        {"scope": tokens_pb2.TOKEN_SCOPE_INTERNAL, "tenant_id": "demo"},
        {"tenant_id": "No Such Form"},
        {"expires_ms": 1},
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(tollhouse: Deployment, fields: dict[str, Any]) -> None:
    assert refused(lambda: token(tollhouse, **fields)) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request")


def test_only_a_hash_of_a_token_is_kept(tollhouse: Deployment) -> None:
    secret = token(tollhouse).secret
    assert re.fullmatch(r"thst_[A-Za-z0-9]{43}", secret)
    with database(tollhouse) as connection:
        rows = connection.execute("SELECT t::text FROM service_tokens t").fetchall()
    assert not any(secret.removeprefix("thst_") in text for (text,) in rows)


# ---- gRPC reading ----


def test_a_batch_answers_what_is_known_and_names_the_rest(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    first, second = asked(tollhouse, tenant), asked(tollhouse, tenant)
    batch = tollhouse.usage.BatchGetUsage(
        usage_pb2.BatchGetUsageRequest(request_ids=[second, "nonsense", first, second])
    )
    assert [usage.request_id for usage in batch.usages] == [second, first]
    assert list(batch.missing_request_ids) == ["nonsense"]
    alone = tollhouse.usage.GetUsage(usage_pb2.GetUsageRequest(request_id=first)).usage
    assert batch.usages[1] == alone
    too_many = usage_pb2.BatchGetUsageRequest(request_ids=["x"] * 1001)
    assert refused(lambda: tollhouse.usage.BatchGetUsage(too_many))[1] == "invalid_request"


def test_a_wait_ends_before_its_deadline_does(tollhouse: Deployment) -> None:
    request = usage_pb2.GetUsageRequest(request_id=ids.request_id(), wait_ms=10_000)
    began = time.monotonic()
    assert refused(lambda: tollhouse.usage.GetUsage(request, timeout=0.6))[1] == "usage_unknown"
    assert time.monotonic() - began < 0.6


def test_a_call_whose_deadline_passes_stops_its_query(tollhouse: Deployment) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tollhouse-ledger-reading'"
        " AND state = 'active' AND wait_event_type = 'Lock' AND query LIKE '%usage_totals%'"
    )
    request = usage_pb2.SummarizeUsageRequest(tenant_id="demo", period=usage_pb2.USAGE_PERIOD_DAY)

    def count(connection: psycopg.Connection) -> int:
        row = connection.execute(waiting).fetchone()
        assert row is not None
        return int(row[0])

    with database(tollhouse) as looking, database(tollhouse) as locking, locking.transaction():
        locking.execute("LOCK TABLE usage_totals IN ACCESS EXCLUSIVE MODE")
        call = tollhouse.usage.SummarizeUsage.future(request, timeout=3)
        eventually(lambda: count(looking) == 1, within_s=3, what="the query waits for the lock")
        assert refused(call.result)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: count(looking) == 0, what="the query was stopped")
    assert tollhouse.usage.SummarizeUsage(request, timeout=20) is not None


@pytest.mark.parametrize("wrong", ["tenant_id", "key_id", "model", "idempotency_key", "page_token"])
def test_what_postgres_cannot_read_is_the_callers_fault(tollhouse: Deployment, wrong: str) -> None:
    fields = dict[str, Any](tenant_id="demo") | {wrong: "a\0b"}
    request = usage_pb2.ListUsageRequest(**fields)
    assert refused(lambda: tollhouse.usage.ListUsage(request))[1] == "invalid_request"
    gone = tokens_pb2.RevokeTokenRequest(token_id="a\0b")
    assert refused(lambda: tollhouse.tokens.RevokeToken(gone))[1] == "not_found"


# ---- watching ----


def taken(stream: Iterator[usage_pb2.WatchUsageResponse], count: int) -> tuple[list[str], str]:
    """At least `count` attempts of a watch and the token behind them."""
    events: list[str] = []
    for message in stream:
        events += [f"{attempt.request_id}:{attempt.attempt}" for attempt in message.attempts]
        if len(events) >= count:
            return events, message.resume_token
    raise AssertionError("the watch ended")


def test_a_watch_tells_every_attempt_once_across_reconnects(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    opened = tollhouse.usage.WatchUsage(
        usage_pb2.WatchUsageRequest(tenant_id=tenant.tenant_id, start=usage_pb2.WATCH_START_NOW), timeout=60
    )
    made: list[str] = []

    def load() -> None:
        made.extend(
            tollhouse.messages(tenant.key, stream=number % 2 == 0).headers["x-request-id"] for number in range(40)
        )

    loaders = [threading.Thread(target=load) for _ in range(3)]
    assert list(next(opened).attempts) == []  # it has begun
    for loader in loaders:
        loader.start()
    seen: list[str] = []
    while len(seen) < 120:
        events, resume = taken(opened, 1)
        seen += events
        opened.cancel()
        again = usage_pb2.WatchUsageRequest(tenant_id=tenant.tenant_id, resume_token=resume)
        opened = tollhouse.usage.WatchUsage(again, timeout=60)
    for loader in loaders:
        loader.join()
    assert sorted(seen) == sorted(f"{request_id}:1" for request_id in made)
    beginning = usage_pb2.WatchUsageRequest(tenant_id=tenant.tenant_id, start=usage_pb2.WATCH_START_BEGINNING)
    assert sorted(taken(tollhouse.usage.WatchUsage(beginning, timeout=60), 120)[0]) == sorted(seen)


def test_a_watch_brings_what_was_booked_while_nobody_watched(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    first = asked(tollhouse, tenant)
    start = usage_pb2.WatchUsageRequest(tenant_id=tenant.tenant_id, start=usage_pb2.WATCH_START_BEGINNING)
    events, resume = taken(tollhouse.usage.WatchUsage(start, timeout=WATCH_S), 1)
    assert events == [f"{first}:1"]
    missed = asked(tollhouse, tenant)
    request = usage_pb2.WatchUsageRequest(tenant_id=tenant.tenant_id, resume_token=resume)
    stream = tollhouse.usage.WatchUsage(request, timeout=WATCH_S)
    assert taken(stream, 1)[0] == [f"{missed}:1"]


def test_an_idle_watch_sends_its_token_every_ten_seconds(tollhouse: Deployment) -> None:
    idle = tollhouse.tenant()
    request = usage_pb2.WatchUsageRequest(tenant_id=idle.tenant_id)
    stream = tollhouse.usage.WatchUsage(request, timeout=WATCH_S)
    first = next(stream)
    began = time.monotonic()
    heartbeat = next(stream)
    assert 9 < time.monotonic() - began < 12
    assert list(heartbeat.attempts) == []
    assert first.resume_token
    assert heartbeat.resume_token


@pytest.mark.parametrize("resume", ["x", "2.1.1.x", "1.-1.0.", "1.9999999999999999999999.0.", "1.1.1.a\0b"])
def test_a_resume_token_of_somebody_elses_is_refused(tollhouse: Deployment, resume: str) -> None:
    request = usage_pb2.WatchUsageRequest(resume_token=resume)
    assert refused(lambda: next(tollhouse.usage.WatchUsage(request, timeout=WATCH_S)))[1] == "invalid_request"


def test_a_watch_misses_nothing_when_the_ledger_is_killed(tmp_path: Path) -> None:
    with deployed(tmp_path / "state", TOLLHOUSE_LEDGER_REDELIVERED_AFTER_S="2") as own:
        seen: list[str] = []
        made: list[str] = []
        request = usage_pb2.WatchUsageRequest(start=usage_pb2.WATCH_START_BEGINNING)

        def watch() -> None:
            while len(seen) < 30:
                try:
                    for message in own.usage.WatchUsage(request, timeout=WATCH_S, wait_for_ready=True):
                        seen.extend(f"{attempt.request_id}:{attempt.attempt}" for attempt in message.attempts)
                        request.resume_token = message.resume_token
                        if len(seen) >= 30:
                            return
                except grpc.RpcError:
                    time.sleep(0.05)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        for number in range(30):
            made.append(own.messages(own.key).headers["x-request-id"])
            if number == 12:
                killed = own.pids("ledger")
                own.kill("ledger")
                eventually(lambda old=killed: own.pids("ledger") not in ([], old), what="the ledger is back")  # type: ignore[misc]
        watcher.join(70)  # what the dead ledger had fetched comes again
        assert sorted(seen) == sorted(f"{request_id}:1" for request_id in made)


def test_watches_are_not_more_than_are_allowed(tmp_path: Path) -> None:
    with deployed(tmp_path / "state", TOLLHOUSE_LEDGER_USAGE_WATCHERS="1") as own:
        request = usage_pb2.WatchUsageRequest(start=usage_pb2.WATCH_START_BEGINNING)
        own.messages(own.key)
        first = own.usage.WatchUsage(request, timeout=WATCH_S)
        next(first)
        assert refused(lambda: next(own.usage.WatchUsage(request, timeout=WATCH_S))) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "watchers_full",
        )
        first.cancel()

        def runs() -> bool:
            try:
                return bool(next(own.usage.WatchUsage(request, timeout=WATCH_S)).attempts)
            except grpc.RpcError:
                return False

        eventually(runs, what="the place of a watch that ended is free")
