"""What the real processes show at /metrics."""

import json
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scripts.generate_docs import MEASURED, measured
from services.shared.metrics import Instrument
from tests.deployment import Deployment, eventually, request

LIBRARY = "process_"
"""How prometheus-client's own metrics begin."""


def ops_urls(tollhouse: Deployment) -> dict[str, str]:
    """The operations ports by service."""
    processes = json.loads((tollhouse.state_dir / "run.json").read_text())["processes"]
    return {process["part"]: process["ops_url"] for process in processes if process["ops_url"]}


def scraped(tollhouse: Deployment, service: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample by its name and its labels."""
    text = request(ops_urls(tollhouse)[service], "GET", "/metrics").body.decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(tollhouse: Deployment, service: str, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    samples = scraped(tollhouse, service).get(name, {})
    return sum(number for having, number in samples.items() if labels.items() <= dict(having).items())


def families(tollhouse: Deployment, service: str) -> Iterator[tuple[str, str, set[str]]]:
    """What is shown: name, kind and the labels of each sample."""
    text = request(ops_urls(tollhouse)[service], "GET", "/metrics").body.decode()
    for family in text_string_to_metric_families(text):
        if not family.name.startswith(LIBRARY):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            yield family.name, family.type, labels


def test_every_service_has_an_operations_port(tollhouse: Deployment) -> None:
    assert set(ops_urls(tollhouse)) == set(MEASURED)
    for url in ops_urls(tollhouse).values():
        assert request(url, "GET", "/healthz").status == 200
        assert request(url, "GET", "/readyz").status == 200


@pytest.mark.parametrize("service", MEASURED)
def test_a_service_shows_what_is_documented_and_nothing_else(tollhouse: Deployment, service: str) -> None:
    if service == "console":
        request(tollhouse.console_url, "GET", "/sign-in")
    every = [*measured()["every service"], *measured()[service]]
    documented: dict[str, Instrument] = {instrument.name: instrument for instrument in every}
    shown = list(families(tollhouse, service))
    for name, kind, labels in shown:
        assert kind == documented[name].kind
        assert not labels or labels == set(documented[name].labels)
    missing = set(documented) - {name for name, _, _ in shown}
    elsewhere = {"edge": {"rpc_server_call_duration_seconds", "tollhouse_database_waiting"}}
    elsewhere["edge"] |= {"tollhouse_database_connections"}
    elsewhere["console"] = {"rpc_server_call_duration_seconds", "tollhouse_nats_connected"}
    assert missing == elsewhere.get(service, set())


def test_the_scrape_is_openmetrics_where_it_is_asked_for(tollhouse: Deployment) -> None:
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    answer = request(ops_urls(tollhouse)["edge"], "GET", "/metrics", accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_a_request_is_counted_by_what_became_of_it(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()

    def requests(**labels: str) -> float:
        return value(tollhouse, "edge", "tollhouse_edge_requests_total", api="messages", **labels)

    answered, failed, refused = (
        {"status": "2xx", "fault": "", "model": "claude-sonnet-4-6"},
        {"status": "5xx", "fault": "upstream", "error_type": "upstream_failed"},
        {"status": "4xx", "fault": "client", "error_type": "key_unknown", "model": ""},
    )
    before = [requests(**labels) for labels in (answered, failed, refused)]
    tollhouse.messages(tenant.key)
    tollhouse.messages(tenant.key, stream=True)
    tollhouse.messages(tenant.key, simulator="status=500")
    tollhouse.messages("sk-th-nobody", model="a model that nobody has")
    after = [requests(**labels) for labels in (answered, failed, refused)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1, 1]


def test_tokens_and_attempts_are_counted_by_class_and_outcome(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()

    def counts() -> list[float]:
        usage = [
            value(tollhouse, "edge", "gen_ai_client_token_usage_sum", gen_ai_token_type=one)
            for one in ("output", "cache_read", "cache_write_5m", "cache_write_1h")
        ]
        attempts = [
            value(tollhouse, "edge", "tollhouse_edge_upstream_attempts_total", outcome=one)
            for one in ("ok", "client_fault")
        ]
        first = value(tollhouse, "edge", "gen_ai_server_time_to_first_token_seconds_count")
        added = value(tollhouse, "edge", "tollhouse_edge_added_latency_seconds_count")
        return [*usage, *attempts, first, added]

    before = counts()
    script = "tokens=7;cache_read=11;cache_write_5m=13;cache_write_1h=17"
    tollhouse.messages(tenant.key, simulator=script, stream=True)
    tollhouse.messages(tenant.key, simulator="status=400")
    assert [b - a for a, b in zip(before, counts(), strict=True)] == [7, 11, 13, 17, 1, 1, 1, 2]


def test_what_is_waited_for_an_upstream_is_not_added_by_us(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()

    def sums() -> tuple[float, float]:
        added = value(tollhouse, "edge", "tollhouse_edge_added_latency_seconds_sum")
        return added, value(tollhouse, "edge", "gen_ai_client_operation_duration_seconds_sum")

    added_before, waited_before = sums()
    for stream in (False, True):
        tollhouse.messages(tenant.key, simulator="first_ms=1000", stream=stream)
    added, waited = sums()
    assert waited - waited_before >= 2
    assert added - added_before < waited - waited_before


def test_the_others_count_what_they_do_for_a_request(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)

    def counts() -> list[float]:
        return [
            value(tollhouse, "auth", "tollhouse_auth_admissions_total", result="admitted"),
            value(tollhouse, "auth", "tollhouse_auth_admissions_total", result="balance_exhausted"),
            value(tollhouse, "router", "tollhouse_router_picks_total"),
            value(tollhouse, "router", "tollhouse_router_attempts_total", outcome="ok"),
            value(tollhouse, "ledger", "tollhouse_ledger_events_booked_total"),
            value(tollhouse, "ledger", "rpc_server_call_duration_seconds_count", rpc_response_status_code="OK"),
        ]

    before = counts()
    tollhouse.messages(tenant.key)
    tollhouse.messages(tenant.key, max_tokens=100_000)  # 1.50 $ at most
    eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 1)
    admitted, exhausted, picks, ok, booked, calls = (b - a for a, b in zip(before, counts(), strict=True))
    assert (admitted, exhausted, ok, booked) == (1, 1, 1, 1)
    assert picks >= 1  # one is asked for before it is known that the balance does not suffice
    assert calls >= 1


def test_a_call_is_counted_by_its_method_and_its_code(tollhouse: Deployment) -> None:
    labels = {
        "rpc_method": "tollhouse.v1.AuthService/CreateTenant",
        "rpc_response_status_code": "OK",
    }
    before = value(tollhouse, "auth", "rpc_server_call_duration_seconds_count", **labels)
    tollhouse.tenant(dollars=0)
    assert value(tollhouse, "auth", "rpc_server_call_duration_seconds_count", **labels) == before + 1


def test_pages_are_counted_by_their_route(tollhouse: Deployment) -> None:
    labels = {"http_route": "/sign-in", "http_request_method": "GET", "http_response_status_code": "200"}
    before = value(tollhouse, "console", "http_server_request_duration_seconds_count", **labels)
    assert request(tollhouse.console_url, "GET", "/sign-in").status == 200
    assert value(tollhouse, "console", "http_server_request_duration_seconds_count", **labels) == before + 1
    assert request(tollhouse.console_url, "GET", "/no-such-page-at-all").status == 404
    unknown = {"http_route": "other", "http_response_status_code": "404"}
    assert value(tollhouse, "console", "http_server_request_duration_seconds_count", **unknown) >= 1


def test_cooldowns_are_shown_by_cause_and_by_pool(tollhouse: Deployment) -> None:
    # The simulator's own kind never cools, so that no script can take it from others.
    tollhouse.account("measured", tollhouse.simulator_url, {"measured-model": "claude-sonnet-4-6"})
    tenant = tollhouse.tenant()
    eventually(lambda: tollhouse.call("GET", "/v1/models/measured-model", {"x-api-key": tenant.key}).status == 200)
    begun = value(tollhouse, "router", "tollhouse_router_cooldowns_begun_total", cause="throttled")
    tollhouse.messages(tenant.key, simulator="status=429;retry_after=60", model="measured-model")
    eventually(lambda: value(tollhouse, "router", "tollhouse_router_cooldowns", cause="throttled") >= 1)
    assert value(tollhouse, "router", "tollhouse_router_cooldowns_begun_total", cause="throttled") == begun + 1
    cooling = value(tollhouse, "router", "tollhouse_router_upstream_accounts_cooling", pool="default")
    assert 1 <= cooling < value(tollhouse, "router", "tollhouse_router_upstream_accounts", pool="default")
