"""`make bench`: every benchmark, one after the other; their figures go into docs/BENCHMARKS.md.

    .venv/bin/python bench/report.py [--keep figures.jsonl] [--soak-seconds 600]
    .venv/bin/python bench/report.py --read figures.jsonl

Needs wrk, two free cores, and about half an hour; nginx for its ratios (Debian: apt install wrk nginx-light). With
--read nothing is measured: the figures are those of a file that --keep, or --out of single benchmarks, wrote. Of
figures that are there twice the later counts.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import budgets, figures
from bench.figures import Figure

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "BENCHMARKS.md"
BEGIN, END = "<!-- figures: begin, written by make bench -->", "<!-- figures: end -->"
SECTIONS = {
    "run.py": "What a request costs",
    "booking.py": "Booking",
    "picking.py": "Picking",
    "resolving.py": "Resolving",
    "slow_readers.py": "Slow readers and large bodies",
    "startup.py": "Start-up",
    "scaling.py": "Several edges",
    "console.py": "The console",
    "soak.py": "Soak",
}
"""The benchmarks in their order, and what their figures stand under."""


def measured(soak_seconds: float, out: Path) -> list[str]:
    """Runs all of them; the names of those that failed."""
    failed = []
    for script in SECTIONS:
        command = [sys.executable, str(HERE / script), "--out", str(out)]
        if script == "soak.py":
            command += ["--seconds", f"{soak_seconds:g}"]
        print(f"\n== {script}", flush=True)
        if subprocess.run(command).returncode:
            failed.append(script)
    return failed


def section_lines(found: Sequence[Figure], limits: budgets.Budgets, today: datetime.date) -> Iterator[str]:
    """Markdown of all figures: how and when they were measured, and a table for each benchmark."""
    speeds = [figure.calibration_ms for figure in found if figure.calibration_ms is not None]
    calibration = f", `calibration` {min(speeds):.1f} to {max(speeds):.1f} ms" if speeds else ""
    python, cores = platform.python_version(), os.cpu_count()
    yield f"{today.isoformat()}, Python {python}, {cores} cores{calibration}."
    cells = {key: budget.cells() for key, budget in limits.figures.items()}
    for script, title in SECTIONS.items():
        of_script = [figure for figure in found if figure.command.split()[0] == script]
        if of_script:
            yield from ("", f"### {title}", "", *figures.table(of_script, cells))


def with_section(page: str, lines: Sequence[str], begin: str = BEGIN, end: str = END) -> str:
    """A page with what stands between its marks replaced. Raises ValueError where it has none."""
    before, has_begin, rest = page.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the page lacks {begin} or {end}")
    return "\n".join((before + begin, "", *lines, "", end + after))


def latest(found: Sequence[Figure]) -> list[Figure]:
    """Each figure once, as it was measured last."""
    return list({figure.key: figure for figure in found}.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read", type=Path, help="measure nothing: take the figures of this file")
    parser.add_argument("--keep", type=Path, help="append the figures to this file, too")
    parser.add_argument("--soak-seconds", type=float, default=600)
    options = parser.parse_args()
    limits = budgets.read(budgets.FILE.read_text(encoding="utf-8"))
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        source: Path = options.read or options.keep or Path(folder) / "figures.jsonl"
        if not options.read:
            failed = measured(options.soak_seconds, source)
        found = latest(figures.read(source))
    lines = list(section_lines(found, limits, datetime.datetime.now(datetime.UTC).date()))
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), lines), encoding="utf-8")
    print("\n".join(("", *lines)))
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
