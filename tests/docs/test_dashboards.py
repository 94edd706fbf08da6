"""Dashboards are what their generator says, and ask for metrics that there are."""

import json
import subprocess
import sys
from typing import Any

import pytest

from scripts.generate_dashboards import DASHBOARDS, dashboard
from tests.docs.pages import ROOT
from tests.docs.queries import faults, samples

RULES = (ROOT / "deploy" / "prometheus" / "rules.yaml").read_text(encoding="utf-8")
TARGETS = [
    (name, panel, target) for name in DASHBOARDS for panel in dashboard(name)["panels"] for target in panel["targets"]
]


def test_the_dashboards_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_dashboards.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    committed = {path.stem for path in (ROOT / "deploy" / "grafana").glob("*.json")}
    assert committed == set(DASHBOARDS)


@pytest.mark.parametrize(
    ("name", "panel", "target"), TARGETS, ids=lambda part: part if isinstance(part, str) else part.get("title", "")
)
def test_a_panel_asks_only_for_what_is_measured(name: str, panel: dict[str, Any], target: dict[str, Any]) -> None:
    assert not list(faults(target["expr"]))


def test_panels_do_not_lie_on_each_other() -> None:
    for name in DASHBOARDS:
        places = [tuple(panel["gridPos"].values()) for panel in dashboard(name)["panels"]]
        assert len(set(places)) == len(places)


def test_every_metric_is_on_a_dashboard_or_in_a_rule() -> None:
    asked = RULES + json.dumps([target["expr"] for _, _, target in TARGETS])
    of_families = {instrument.name: False for instrument in samples().values()}
    for sample, instrument in samples().items():
        of_families[instrument.name] |= sample in asked
    assert [name for name, is_asked in of_families.items() if not is_asked] == []
