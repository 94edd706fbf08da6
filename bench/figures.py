"""Figures that benchmarks find: printed as a table, and handed on as lines of JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

RATIOS = {"bare": "x bare relay", "nginx": "x nginx", "direct": "x direct"}
"""What a figure is compared with, and the head of that column."""


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Args:
        key: what it is called in bench/budgets.toml.
        command: what measures it alone, after `.venv/bin/python bench/`.
        ratios: times what the same cost elsewhere; see RATIOS.
        calibration_ms: how fast the machine was while CPU was counted; None where the figure does not depend on it.
    """

    key: str
    name: str
    unit: str
    value: float
    command: str
    ratios: Mapping[str, float] = field(default_factory=dict)
    calibration_ms: float | None = None


def tell(figures: Sequence[Figure], out: str | None) -> None:
    """Prints figures as a table; with `out`, adds them to that file too, a line of JSON each."""
    for line in table(figures):
        print(line)
    if out:
        with Path(out).open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(figure)) + "\n" for figure in figures)


def read(path: Path) -> list[Figure]:
    """The figures of a file that `tell` wrote."""
    return [Figure(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def table(figures: Iterable[Figure], budgets: Mapping[str, tuple[str, str]] | None = None) -> Iterator[str]:
    """Markdown; `budgets` has budget and aim by key, and adds a column for each."""
    heads = ["figure", "Tollhouse", *(["budget", "aim"] if budgets is not None else []), *RATIOS.values(), "repeat"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for figure in figures:
        limits = list(budgets.get(figure.key, ("", ""))) if budgets is not None else []
        ratios = [_ratio(figure.ratios[name]) if name in figure.ratios else "" for name in RATIOS]
        cells = [f"{figure.name}, {figure.unit}", shown(figure.value), *limits, *ratios, f"`{figure.command}`"]
        yield f"| {' | '.join(cells)} |"


def shown(value: float) -> str:
    """A number with as many digits as it deserves."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
