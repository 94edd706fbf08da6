"""`make bench-check`: fails where a budget of bench/budgets.toml is passed by more than noise.

    .venv/bin/python bench/check.py [--repeats 3]
    .venv/bin/python bench/check.py --read figures.jsonl

Measures the figures of CPU and memory that have `check`, each several times in short runs: about six minutes. Their
median counts, scaled to the machine that the budgets are meant for by the calibration of bench/measure.py; half of what
lies between the least and the most is noise. With --read nothing is measured.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import run as run_command

from bench import budgets, figures
from bench.figures import Figure

HERE = Path(__file__).resolve().parent
SHORT_RUNS = (
    ("run.py", "--scenes", "plain,burst,paced,paced_busy,streams", "--only", "tollhouse", "--quick"),
    ("slow_readers.py", "--seconds", "6"),
    ("startup.py", "--starts", "3"),
    ("picking.py", "--picks", "2000"),
)
"""They find every figure that is checked. A benchmark that itself fails over its own bound is judged here anew."""


def measure(repeats: int) -> list[Figure]:
    """The figures of some short runs."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.jsonl"
        for _ in range(repeats):
            for script, *options in SHORT_RUNS:
                run_command([sys.executable, str(HERE / script), *options, "--out", str(out)])
        return figures.read(out) if out.exists() else []


def judged(limits: budgets.Budgets, found: Sequence[Figure]) -> tuple[list[str], bool]:
    """What to say of each figure that is checked, and whether all of them were measured and are within their budget."""
    verdicts = {verdict.budget.key: verdict for verdict in budgets.judge(limits, found)}
    lines, good = [], True
    for budget in limits.checked():
        verdict = verdicts.get(budget.key)
        if verdict is None:
            lines.append(f"{'missing':8} {budget.name}: was not measured")
        else:
            lines.append(f"{'OVER' if verdict.passed else 'within':8} {verdict}")
        good = good and verdict is not None and not verdict.passed
    return lines, good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--read", type=Path, help="measure nothing: judge the figures of this file")
    options = parser.parse_args()
    if not options.read and not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt install wrk")
    limits = budgets.read(budgets.FILE.read_text(encoding="utf-8"))
    found = figures.read(options.read) if options.read else measure(options.repeats)
    lines, good = judged(limits, found)
    print("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
