"""Generates deploy/grafana/*.json from the panels named here; with --check, fails when what is committed is stale.

The dashboards ask for their data source (`datasource`) and for the processes to show (`instance`).
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana"

_SCHEMA = 39
"""Of Grafana 10 and later."""
_WIDTH, _HEIGHT, _ACROSS = 8, 8, 3
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """One graph: its title, the unit of its axis, and its queries, each with what its lines are called."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    meaning: str = ""
    stacked: bool = False


def _quantiles(metric: str, by: str = "", where: str = "") -> list[tuple[str, str]]:
    """The half and the ninety-ninth of a hundred of a histogram."""
    labels = f"{by}, le" if by else "le"
    lines = f" {{{{{by}}}}}" if by else ""
    return [
        (f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))", f"p{n}{lines}")
        for q, n in ((0.5, 50), (0.99, 99))
    ]


def _rate(metric: str, by: str, where: str = "") -> tuple[str, str]:
    lines = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))", lines


_FAILED = '{fault=~"upstream|ours"}'
_HERE = '{instance=~"$instance"}'

DASHBOARDS = {
    "overview": (
        "Tollhouse: overview",
        [
            Panel("Requests", "reqps", [_rate("tollhouse_edge_requests_total", "api, status")], stacked=True),
            Panel(
                "Failures by kind",
                "reqps",
                [_rate("tollhouse_edge_requests_total", "error_type, fault", _FAILED)],
                "By no fault of the client: what availability is measured by.",
                stacked=True,
            ),
            Panel(
                "Availability",
                "percentunit",
                [
                    (
                        f"1 - sum(rate(tollhouse_edge_requests_total{_FAILED}[$__rate_interval]))"
                        " / sum(rate(tollhouse_edge_requests_total[$__rate_interval]))",
                        "answered",
                    )
                ],
                "The objective is 99.9 % in 30 days.",
            ),
            Panel("Time to first token", "s", _quantiles("gen_ai_server_time_to_first_token_seconds")),
            Panel(
                "Added latency",
                "s",
                _quantiles("tollhouse_edge_added_latency_seconds"),
                "What was waited for no upstream and for no client. The objective is 100 ms for 99 %.",
            ),
            Panel("Duration", "s", _quantiles("tollhouse_edge_request_duration_seconds", "stream")),
            Panel(
                "Under way",
                "short",
                [
                    ("sum(tollhouse_edge_requests_in_flight)", "requests"),
                    ("sum(tollhouse_edge_streams_in_flight)", "streams"),
                ],
            ),
            Panel(
                "Room for bodies that is taken",
                "percentunit",
                [("tollhouse_edge_bodies_bytes / tollhouse_edge_bodies_limit_bytes", "{{instance}}")],
            ),
            Panel("Requests by model", "reqps", [_rate("tollhouse_edge_requests_total", "model")], stacked=True),
            Panel("Requests by brand", "reqps", [_rate("tollhouse_edge_requests_total", "brand")], stacked=True),
            Panel("Tokens", "short", [_rate("gen_ai_client_token_usage_sum", "gen_ai_token_type")], stacked=True),
            Panel("Replicas", "short", [("max by (service) (tollhouse_ledger_fleet_replicas)", "{{service}}")]),
            Panel("Replicas that edges ask", "short", [("min by (service) (tollhouse_edge_replicas)", "{{service}}")]),
            Panel("Not ready", "short", [("sum by (service) (1 - tollhouse_ready)", "{{service}}")]),
        ],
    ),
    "money": (
        "Tollhouse: money",
        [
            Panel(
                "Revenue and cost by the hour",
                "currencyUSD",
                [
                    ("sum(increase(tollhouse_ledger_revenue_dollars_total[1h]))", "revenue"),
                    ("sum(increase(tollhouse_ledger_upstream_cost_dollars_total[1h]))", "upstream cost"),
                ],
            ),
            Panel(
                "Shortfall by the hour",
                "currencyUSD",
                [("sum(increase(tollhouse_ledger_shortfall_dollars_total[1h]))", "shortfall")],
                "Usage that no balance paid for.",
            ),
            Panel(
                "Dead letters",
                "short",
                [
                    ("max(tollhouse_ledger_dead_letters)", "dead letters"),
                    ("sum(increase(tollhouse_ledger_parked_total[1h]))", "parked in an hour"),
                ],
            ),
            Panel(
                "Events booked",
                "ops",
                [("sum(rate(tollhouse_ledger_events_booked_total[$__rate_interval]))", "events")],
            ),
            Panel("Booking lag", "s", [("max(tollhouse_ledger_booking_lag_seconds)", "oldest message")]),
            Panel("Booking delay", "s", _quantiles("tollhouse_ledger_booking_delay_seconds")),
            Panel("Booking transactions", "s", _quantiles("tollhouse_ledger_booking_duration_seconds")),
            Panel(
                "Usage on its way",
                "short",
                [
                    ("sum(tollhouse_edge_outbox_requests)", "in edges' outboxes"),
                    ("max(tollhouse_ledger_unbooked_messages)", "messages in JetStream"),
                ],
            ),
            Panel(
                "Journals",
                "percentunit",
                [("tollhouse_edge_journal_bytes / tollhouse_edge_journal_limit_bytes", "{{instance}}")],
            ),
            Panel(
                "Credit out",
                "currencyUSD",
                [
                    ("sum(tollhouse_auth_granted_dollars)", "granted"),
                    ("sum(tollhouse_auth_held_dollars)", "held"),
                ],
            ),
            Panel(
                "Tenants and holds",
                "short",
                [
                    ("sum(tollhouse_auth_tenants)", "tenants"),
                    ("sum(tollhouse_auth_holds)", "holds"),
                    ("sum(tollhouse_auth_waiting)", "wait for a grant"),
                ],
            ),
            Panel("Raises of grants", "ops", [_rate("tollhouse_auth_grant_raises_total", "result")]),
            Panel("Admissions", "reqps", [_rate("tollhouse_auth_admissions_total", "result")], stacked=True),
            Panel(
                "Repaired",
                "short",
                [
                    ("sum(increase(tollhouse_auth_holds_orphaned_total[1h]))", "holds orphaned"),
                    ("sum(increase(tollhouse_auth_grants_lost_total[1h]))", "grants lost"),
                    ("sum(increase(tollhouse_ledger_grants_expired_total[1h]))", "grants expired"),
                ],
            ),
        ],
    ),
    "upstreams": (
        "Tollhouse: upstreams",
        [
            Panel(
                "Attempts by outcome",
                "reqps",
                [_rate("tollhouse_edge_upstream_attempts_total", "gen_ai_provider_name, outcome")],
                stacked=True,
            ),
            Panel("Duration", "s", _quantiles("gen_ai_client_operation_duration_seconds", "gen_ai_provider_name")),
            Panel("Picks by reason", "reqps", [_rate("tollhouse_router_picks_total", "reason")], stacked=True),
            Panel("Cooldowns by cause", "short", [("max by (cause) (tollhouse_router_cooldowns)", "{{cause}}")]),
            Panel("Cooldowns begun", "ops", [_rate("tollhouse_router_cooldowns_begun_total", "cause")]),
            Panel(
                "Accounts that cool",
                "percentunit",
                [
                    (
                        "max by (pool) (tollhouse_router_upstream_accounts_cooling)"
                        " / max by (pool) (tollhouse_router_upstream_accounts)",
                        "{{pool}}",
                    )
                ],
            ),
            Panel("Ended attempts", "reqps", [_rate("tollhouse_router_attempts_total", "kind, outcome")], stacked=True),
            Panel("Attempts under way", "short", [("sum(tollhouse_router_leases)", "leases")]),
            Panel("Picks that wait", "short", [("sum(tollhouse_router_waiting)", "waiting")]),
            Panel(
                "Tokens by model",
                "short",
                [_rate("gen_ai_client_token_usage_sum", "gen_ai_request_model, gen_ai_token_type")],
                stacked=True,
            ),
        ],
    ),
    "service": (
        "Tollhouse: a service",
        [
            Panel(
                "CPU", "percentunit", [(f"rate(process_cpu_seconds_total{_HERE}[$__rate_interval])", "{{instance}}")]
            ),
            Panel("Resident memory", "bytes", [(f"process_resident_memory_bytes{_HERE}", "{{instance}}")]),
            Panel("Loop lag", "s", _quantiles("tollhouse_loop_lag_seconds", "instance", _HERE)),
            Panel(
                "gRPC calls by method",
                "reqps",
                [_rate("rpc_server_call_duration_seconds_count", "rpc_method", _HERE)],
                stacked=True,
            ),
            Panel(
                "gRPC calls that fail",
                "reqps",
                [
                    _rate(
                        "rpc_server_call_duration_seconds_count",
                        "rpc_method, rpc_response_status_code",
                        '{instance=~"$instance", rpc_response_status_code!="OK"}',
                    )
                ],
            ),
            Panel("gRPC durations", "s", _quantiles("rpc_server_call_duration_seconds", "rpc_method", _HERE)),
            Panel(
                "Questions of a batch",
                "short",
                [
                    *_quantiles("tollhouse_edge_batch_items", "service", _HERE),
                    *_quantiles("tollhouse_auth_batch_items", "instance", _HERE),
                    *_quantiles("tollhouse_router_batch_items", "instance", _HERE),
                ],
            ),
            Panel("Console", "reqps", [_rate("http_server_request_duration_seconds_count", "http_route", _HERE)]),
            Panel(
                "Postgres",
                "short",
                [
                    (f"tollhouse_database_connections{_HERE}", "connections {{instance}}"),
                    (f"tollhouse_database_waiting{_HERE}", "waiting {{instance}}"),
                ],
            ),
            Panel("NATS", "short", [(f"tollhouse_nats_connected{_HERE}", "{{instance}}")]),
            Panel("Open files", "short", [(f"process_open_fds{_HERE}", "{{instance}}")]),
            Panel(
                "Versions", "short", [("count by (service, version) (tollhouse_build_info)", "{{service}} {{version}}")]
            ),
        ],
    ),
}


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"tollhouse-{name}",
        "title": title,
        "tags": ["tollhouse"],
        "schemaVersion": _SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source_variable(), _instance_variable()]},
        "links": [{"type": "dashboards", "tags": ["tollhouse"], "title": "Tollhouse", "asDropdown": True}],
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _ACROSS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"fillOpacity": 10, "stacking": {"mode": "normal" if panel.stacked else "none"}},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": query, "legendFormat": lines}
            for place, (query, lines) in enumerate(panel.queries)
        ],
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}


def _instance_variable() -> dict[str, Any]:
    return {
        "name": "instance",
        "type": "query",
        "label": "Process",
        "datasource": _SOURCE,
        "query": "label_values(tollhouse_build_info, instance)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def main() -> None:
    texts = {FOLDER / f"{name}.json": json.dumps(dashboard(name), indent=2) + "\n" for name in DASHBOARDS}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        if stale:
            sys.exit(f"{', '.join(path.name for path in stale)}: stale; run `make docs` and commit the result")
        return
    for path in stale:
        path.write_text(texts[path], encoding="utf-8")


if __name__ == "__main__":
    main()
