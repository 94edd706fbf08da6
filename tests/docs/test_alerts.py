"""Alerts use metrics that there are, and docs/RUNBOOK.md has an entry for each."""

import re
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, anchors, headings, in_code, page
from tests.docs.queries import faults, samples

GROUPS: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = frozenset(rule["record"] for rule in RULES if "record" in rule)
RUNBOOK = page("RUNBOOK.md")


def entry(alert: str) -> str:
    """What the runbook says about an alert."""
    return RUNBOOK.split(f"\n## {alert}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_only_for_what_is_measured(rule: dict[str, Any]) -> None:
    assert not list(faults(rule["expr"], RECORDED))


def test_what_is_recorded_is_used() -> None:
    for name in RECORDED:
        assert any(name in alert["expr"] for alert in ALERTS)


def test_a_rule_that_asks_for_something_else_is_noticed() -> None:
    wrong = (
        "sum(rate(tollhouse_edge_request_total[5m]))",
        'tollhouse_ready{servise="edge"}',
        "sum by (servise) (tollhouse_ready)",
        "max(tollhouse_ready",
        "avg_of(tollhouse_ready)",
    )
    for query in wrong:
        assert list(faults(query))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_urgent_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert set(alert) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert alert["labels"]["severity"] in ("page", "ticket")
    target, anchor = alert["annotations"]["runbook"].split("#")
    assert (ROOT / target).samefile(ROOT / "docs" / "RUNBOOK.md")
    assert anchor in anchors(RUNBOOK)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_runbook_says_what_an_alert_means_and_what_to_do(alert: dict[str, Any]) -> None:
    said = entry(alert["alert"])
    for part in ("**Meaning.**", "**Look at**"):
        assert part in said
    assert re.search(r"\*\*[Dd]o\.?\*\*", said)


def test_the_runbook_has_no_entry_without_an_alert() -> None:
    assert headings(RUNBOOK)[1:] == [alert["alert"] for alert in ALERTS]


def test_the_runbook_asks_only_for_what_is_measured() -> None:
    families = {instrument.name for instrument in samples().values()}
    for code in in_code(RUNBOOK):
        if re.search(r"(tollhouse|gen_ai)_[a-z]", code):
            assert code in families or not list(faults(code)), code
