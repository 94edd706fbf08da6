"""bench/budgets.toml: what figures may be, and whether what was measured is within it."""

import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Figure, shown

FILE = Path(__file__).with_name("budgets.toml")
_FIELDS = {"name", "budget", "at_least", "aim", "check"}


class BudgetError(Exception):
    """The file cannot be understood; the text names the figure."""


@dataclass(frozen=True)
class Budget:
    """What one figure may be. `at_least`: it may not be less than the limit, rather than not more."""

    key: str
    name: str
    limit: float
    aim: float
    at_least: bool = False
    check: bool = False

    def cells(self) -> tuple[str, str]:
        """Budget and aim, for a table."""
        sign = ">= " if self.at_least else ""
        return f"{sign}{self.limit:g}", f"{sign}{self.aim:g}"


@dataclass(frozen=True)
class Budgets:
    """All of them, by key. `calibration_ms`: the speed of the machine that figures of CPU are scaled to."""

    calibration_ms: float
    figures: Mapping[str, Budget]

    def checked(self) -> list[Budget]:
        """Those that a check measures."""
        return [budget for budget in self.figures.values() if budget.check]


@dataclass(frozen=True)
class Verdict:
    """What came of several measurements of one figure. `noise` is half of the distance between the least and the
    most."""

    budget: Budget
    value: float
    noise: float
    measured: int

    @property
    def passed(self) -> bool:
        """Whether the budget was passed by more than noise."""
        beyond = self.budget.limit - self.value if self.budget.at_least else self.value - self.budget.limit
        return beyond > self.noise

    def __str__(self) -> str:
        may, bound = shown(self.budget.limit), "at least" if self.budget.at_least else "at most"
        was = f"was {shown(self.value)} +- {shown(self.noise)} in {self.measured} runs"
        return f"{self.budget.name}: {was}, may be {bound} {may}"


def read(text: str) -> Budgets:
    """Budgets from TOML. Raises BudgetError."""
    try:
        document = tomllib.loads(text)
        calibration_ms = float(document["calibration_ms"])
        tables: Mapping[str, Any] = document["figures"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise BudgetError(f"not a file of budgets: {error!r}") from None
    return Budgets(calibration_ms, {key: _budget(key, fields) for key, fields in tables.items()})


def judge(budgets: Budgets, measured: Sequence[Figure]) -> list[Verdict]:
    """A verdict for each budget that was measured, in the order of the file. Figures of CPU are scaled to the machine
    that the budgets are meant for."""
    verdicts = []
    for key, budget in budgets.figures.items():
        values = [_scaled(figure, budgets.calibration_ms) for figure in measured if figure.key == key]
        if values:
            noise = (max(values) - min(values)) / 2
            verdicts.append(Verdict(budget, statistics.median(values), noise, len(values)))
    return verdicts


def _scaled(figure: Figure, calibration_ms: float) -> float:
    if figure.calibration_ms is None:
        return figure.value
    return figure.value * calibration_ms / figure.calibration_ms


def _budget(key: str, fields: Mapping[str, Any]) -> Budget:
    if unknown := fields.keys() - _FIELDS:
        raise BudgetError(f"{key}: nobody knows {', '.join(sorted(unknown))}")
    bounds = [name for name in ("budget", "at_least") if name in fields]
    if len(bounds) != 1:
        raise BudgetError(f"{key}: needs either budget or at_least")
    limit, aim = fields[bounds[0]], fields.get("aim")
    if not isinstance(limit, int | float) or not isinstance(aim, int | float) or not fields.get("name"):
        raise BudgetError(f"{key}: needs a name, and budget and aim as numbers")
    at_least = bounds == ["at_least"]
    if (aim < limit) if at_least else (aim > limit):
        raise BudgetError(f"{key}: the aim is behind the budget")
    return Budget(key, fields["name"], limit, aim, at_least, bool(fields.get("check", False)))
