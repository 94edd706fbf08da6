"""Unit tests of bench.report and bench.figures."""

import datetime
from pathlib import Path

import pytest

from bench import budgets, figures, report
from bench.figures import Figure

LIMITS = budgets.Budgets(30, {"plain_edge": budgets.Budget("plain_edge", "edge", 200, 100)})
EDGE = Figure("plain_edge", "edge", "us of CPU", 181.4, "run.py --scenes plain", {"bare": 1.62, "nginx": 0.5}, 30.5)
READY = Figure("ready", "edge, ready", "s", 0.724, "startup.py")


def lines(*found: Figure) -> list[str]:
    return list(report.section_lines(found, LIMITS, datetime.date(2026, 1, 2)))


def test_figures_stand_under_their_benchmark_with_budget_ratios_and_command() -> None:
    said = lines(EDGE, READY)
    assert said[0].startswith("2026-01-02, Python 3.")
    assert said[0].endswith("`calibration` 30.5 to 30.5 ms.")
    assert "| edge, us of CPU | 181 | 200 | 100 | 1.6 | 0.50 |  | `run.py --scenes plain` |" in said
    assert "| edge, ready, s | 0.72 |  |  |  |  |  | `startup.py` |" in said
    assert said.index("### What a request costs") < said.index("### Start-up")


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = f"# Before\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\n## After\n"
    assert report.with_section(page, ["new"]) == f"# Before\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\n## After\n"


@pytest.mark.parametrize("page", ["", report.BEGIN, report.END])
def test_a_page_without_marks_is_not_written(page: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        report.with_section(page, ["new"])


def test_the_page_of_benchmarks_has_its_marks() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.with_section(page, ["new"]).count("new\n") == 1


def test_figures_are_handed_on_whole_and_the_latest_of_each_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.jsonl"
    figures.tell([READY, EDGE], str(out))
    again = Figure("ready", "edge, ready", "s", 0.5, "startup.py")
    figures.tell([again], str(out))
    assert figures.read(out) == [READY, EDGE, again]
    assert report.latest(figures.read(out)) == [again, EDGE]
    assert "| edge, ready, s | 0.72 |" in capsys.readouterr().out


def test_every_section_is_a_benchmark_that_exists() -> None:
    assert all((report.HERE / script).exists() for script in report.SECTIONS)
