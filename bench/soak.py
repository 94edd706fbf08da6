"""Whether memory grows: mixed load for a while, and the memory of every process before and after.

    .venv/bin/python bench/soak.py [--seconds 600] [--rate 60] [--out FILE]

The load is that of the chaos tests: plain answers, streams, clients that leave, upstreams that fail or break off, of
several tenants, over two edges. What counts is memory that is a process's own (see bench/processes.py). Its growth is
the median of the last fifth of the time less that of the second fifth: in the first, caches fill and code is read in.
Fails where a process grew by more than --most-mib.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import budgets, figures, processes, targets
from bench.figures import Figure
from tests.chaos.load import Load
from tests.deployment import Deployment

EDGES = 2
_SAMPLES = 300
_TENANTS = 8
_DOLLARS = 10_000
_SERVED_SHARE = 0.5
"""At least so much of the load asks for what ends with 200."""
Samples = Sequence[Mapping[str, float]]


def parts(gateway: Deployment) -> dict[str, list[int]]:
    """Every process, by a name that tells which."""
    found: dict[str, list[int]] = {}
    for part in ("edge", *targets.SERVICES, "simulator"):
        pids = gateway.pids(part)
        found |= {f"{part} {number}" if len(pids) > 1 else part: [pid] for number, pid in enumerate(pids)}
    return found


def own_mib(pids: Sequence[int]) -> float:
    """Of a process or, where it has children as Postgres has for its connections, of one of them all on average: a
    pool opens connections when it is busy, and that is no leak."""
    return processes.own_mib(pids) / len(list(processes.tree(pids)))


async def sampled(gateway: Deployment, seconds: float, rate: float) -> tuple[Load, Samples]:
    """The load, and the memory of every process while it lasted."""
    tenants = [gateway.tenant(dollars=_DOLLARS) for _ in range(_TENANTS)]
    load, watched = Load(gateway.base_url, tenants, rate), parts(gateway)
    samples: list[Mapping[str, float]] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            samples.append({name: own_mib(pids) for name, pids in watched.items()})
            await asyncio.sleep(seconds / _SAMPLES)
        load.stopping = True
    return load, samples


def growth(samples: Samples) -> dict[str, tuple[float, float]]:
    """Of each process, in MiB: what it had in the second fifth of the time, and how much more in the last."""
    fifth = len(samples) // 5
    found = {}
    for name in samples[0]:
        early = statistics.median(sample[name] for sample in samples[fifth : 2 * fifth])
        late = statistics.median(sample[name] for sample in samples[-fifth:])
        found[name] = (early, late - early)
    return found


def measure(seconds: float, rate: float) -> list[Figure]:
    """How much each process grew, and the one that grew most first."""
    with (
        tempfile.TemporaryDirectory() as folder,
        targets.tollhouse(Path(folder), "--edges", str(EDGES)) as gateway,
    ):
        before = parts(gateway)
        load, samples = asyncio.run(sampled(gateway, seconds, rate))
        if parts(gateway) != before:
            raise SystemExit("a process was restarted")
    print(f"{load.made} requests: {dict(load.outcomes.most_common())}", file=sys.stderr)
    if load.outcomes["200"] < load.made * _SERVED_SHARE:
        raise SystemExit("the load was not served")
    grown = growth(samples)
    command, label = f"soak.py --seconds {seconds:g}", f"{seconds:g} s of mixed load"
    most = max(more for _, more in grown.values())
    found = [Figure("soak_growth", f"the process that grew most in {label}", "MiB more", most, command)]
    for name, (early, more) in grown.items():
        unit = f"MiB more than its own {early:.0f}"
        found.append(Figure(f"soak_growth_{name}", f"{name}, {label}", unit, more, command))
    return found


def main() -> int:
    most_mib = budgets.read(budgets.FILE.read_text(encoding="utf-8")).figures["soak_growth"].limit
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=60, help="requests a second (default: %(default)s)")
    parser.add_argument(
        "--most-mib", type=float, default=most_mib, help="(default: %(default)s, of bench/budgets.toml)"
    )
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    found = measure(options.seconds, options.rate)
    figures.tell(found, options.out)
    leaks = [figure for figure in found[1:] if figure.value > options.most_mib]
    for figure in leaks:
        print(f"{figure.name}: grew by {figure.value:.1f} MiB, may grow by {options.most_mib:g}", file=sys.stderr)
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
