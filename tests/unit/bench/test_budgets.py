"""Unit tests of bench.budgets and bench.check."""

import re

import pytest

from bench import budgets, check, run, soak
from bench.figures import Figure

TEXT = """
calibration_ms = 30

[figures.plain_edge]
name = "edge, small plain request, us of CPU"
budget = 200
aim = 100
check = true

[figures.booked_a_second]
name = "events booked a second"
at_least = 5000
aim = 20000
"""
LIMITS = budgets.read(TEXT)


def edge(value: float, calibration_ms: float | None = 30) -> Figure:
    return Figure("plain_edge", "edge", "us of CPU", value, "run.py", calibration_ms=calibration_ms)


def test_budgets_are_read_with_their_limits_and_aims() -> None:
    assert LIMITS.calibration_ms == 30
    assert LIMITS.figures["plain_edge"] == budgets.Budget(
        "plain_edge", "edge, small plain request, us of CPU", 200, 100, check=True
    )
    assert LIMITS.figures["booked_a_second"].at_least
    assert [budget.key for budget in LIMITS.checked()] == ["plain_edge"]


def test_the_file_of_budgets_can_be_read_and_every_figure_that_is_checked_is_measured() -> None:
    limits = budgets.read(budgets.FILE.read_text(encoding="utf-8"))
    sources = "".join(path.read_text(encoding="utf-8") for path in budgets.FILE.parent.glob("*.py"))
    made = {key for key in limits.figures if re.search(rf'"{key}"', sources)}
    made |= {f"{scene}_{part}" for scene in run.SCENES for part in ("edge", "decisions", "booking", "event_edge")}
    made |= {f"ttft_{part}" for part in ("p50", "p99")} | {"usage_visible_p99", "latency_c1_p50", "latency_c1_p99"}
    assert limits.figures.keys() <= made
    assert len(limits.checked()) >= 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "not a file of budgets"),
        ("calibration_ms = 30", "figures"),
        (TEXT.replace("budget = 200", ""), "plain_edge: needs either budget or at_least"),
        (TEXT.replace("budget = 200", "budget = 200\nat_least = 1"), "plain_edge: needs either budget or at_least"),
        (TEXT.replace("budget = 200", 'budget = "many"'), "plain_edge: needs a name, and budget and aim as numbers"),
        (TEXT.replace("check = true", "chekc = true"), "plain_edge: nobody knows chekc"),
        (TEXT.replace("aim = 100", "aim = 300"), "plain_edge: the aim is behind the budget"),
        (TEXT.replace("aim = 20000", "aim = 10"), "booked_a_second: the aim is behind the budget"),
    ],
)
def test_a_fault_in_the_file_is_named(text: str, said: str) -> None:
    with pytest.raises(budgets.BudgetError, match=said):
        budgets.read(text)


def test_a_passed_budget_fails_the_check_and_is_named_with_what_it_was_and_may_be() -> None:
    lines, good = check.judged(LIMITS, [edge(220), edge(221), edge(222)])
    assert not good
    assert lines == ["OVER     edge, small plain request, us of CPU: was 221 +- 1.00 in 3 runs, may be at most 200"]


def test_a_budget_that_is_kept_passes_the_check() -> None:
    lines, good = check.judged(LIMITS, [edge(180), edge(199), edge(200)])
    assert good
    assert lines[0].startswith("within")


def test_a_budget_that_is_passed_within_noise_does_not_fail() -> None:
    assert check.judged(LIMITS, [edge(180), edge(205), edge(220)])[1]


def test_a_figure_that_is_to_be_checked_and_was_not_measured_fails() -> None:
    assert check.judged(LIMITS, []) == (["missing  edge, small plain request, us of CPU: was not measured"], False)


def test_cpu_is_scaled_to_the_machine_of_the_budgets_and_memory_is_not() -> None:
    (slow,) = budgets.judge(LIMITS, [edge(300, calibration_ms=60)])
    assert slow.value == 150
    (memory,) = budgets.judge(LIMITS, [edge(300, calibration_ms=None)])
    assert memory.value == 300


def test_what_may_not_be_less_is_passed_from_below() -> None:
    (few,) = budgets.judge(LIMITS, [Figure("booked_a_second", "", "", 4000, "")])
    (many,) = budgets.judge(LIMITS, [Figure("booked_a_second", "", "", 6000, "")])
    assert few.passed
    assert not many.passed
    assert "may be at least 5000" in str(few)


def test_growth_in_a_soak_is_the_last_fifth_against_the_second() -> None:
    warm, steady, late = {"edge": 10.0}, {"edge": 50.0}, {"edge": 53.0}
    assert soak.growth([warm] * 10 + [steady] * 30 + [late] * 10) == {"edge": (50.0, 3.0)}
