"""What a second edge on the same port adds.

    .venv/bin/python bench/scaling.py [--seconds 6] [--rounds 3] [--out FILE]

Load, mock and all services share the machine with the edges, so that on few cores the measured rate says little of
edges. What an edge can serve on a core of its own is 1 / (CPU that it takes for a request), and what several can is the
sum over them: the capacity. Where two edges have less than twice that of one, each costs more beside the other: its
batches are smaller, caches are shared. The load is on `tollhouse up --edges 1` and `--edges 2` in turns, with as many
connections for each edge, nothing pinned. The measured rates are told beside, and how much of the machine edges and all
else had.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import figures, load, processes, targets
from bench.figures import Figure
from tests.deployment import Deployment, eventually, free_port

CONNECTIONS_AN_EDGE = 32
_SETTLE_S = 1.0
_COMMAND = "scaling.py"


@dataclass(frozen=True)
class Round:
    """What one load did to some edges: `capacity` in requests a second, were each edge alone on its core."""

    edges: int
    capacity: float
    rps: float
    edges_busy: float
    """Cores that the edges used."""
    rest_busy: float
    """Cores that the services, the mock and the load used."""
    least_share: float
    """Of the edges' CPU, what the one that worked least took, times their number: 1 where all worked alike."""


@contextmanager
def mock() -> Iterator[tuple[int, str]]:
    """The mock upstream; its pid and URL."""
    port = free_port()
    command = [sys.executable, str(targets.HERE / "mock_upstream.py"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def one(gateway: Deployment, mock_pid: int, seconds: int) -> Round:
    """Load from every connection for some seconds."""
    edges = gateway.pids("edge")
    others = [mock_pid, *(pid for part in targets.SERVICES for pid in gateway.pids(part))]
    headers = load.make_headers("anthropic", [f"x-api-key: {gateway.key}"])
    body = load.make_body("anthropic", targets.MODEL)
    url = load.full_url(gateway.base_url, "anthropic")
    load.run_wrk(url, body, headers, CONNECTIONS_AN_EDGE * len(edges), 2)  # warms up
    time.sleep(_SETTLE_S)
    before, rest_s = [processes.cpu_s([edge]) for edge in edges], processes.cpu_s(others)
    load_s, began_s = os.times(), time.monotonic()
    result = load.run_wrk(url, body, headers, CONNECTIONS_AN_EDGE * len(edges), seconds)
    wall_s, ended = time.monotonic() - began_s, os.times()
    spent_s = [processes.cpu_s([edge]) - was_s for edge, was_s in zip(edges, before, strict=True)]
    rest_s = processes.cpu_s(others) - rest_s + ended[2] + ended[3] - load_s[2] - load_s[3]
    if result["errors"] or result["non2xx"]:
        raise SystemExit(f"{result['errors']} errors, {result['non2xx']} answers that are not 2xx")
    each_s = sum(spent_s) / result["requests"]
    share = min(spent_s) / sum(spent_s) * len(edges)
    return Round(len(edges), len(edges) / each_s, result["rps"], sum(spent_s) / wall_s, rest_s / wall_s, share)


def rounds(edges: int, seconds: int, count: int) -> list[Round]:
    """Some rounds with so many edges."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock() as (mock_pid, url),
        targets.tollhouse(Path(folder), "--edges", str(edges), upstream=url) as gateway,
    ):
        eventually(lambda: len(gateway.pids("edge")) == edges, what="every edge runs")
        return [one(gateway, mock_pid, seconds) for _ in range(count)]


def measure(seconds: int, count: int) -> list[Figure]:
    """One edge, two edges, one, two; and what the second one adds."""
    turns = [rounds(edges, seconds, count) for edges in (1, 2, 1, 2)]
    alone, together = [*turns[0], *turns[2]], [*turns[1], *turns[3]]
    found = []
    for several in (alone, together):
        label = f"{several[0].edges} edge{'s' if several[0].edges > 1 else ''} on one port"
        parts = {
            "capacity": ("capacity of", "requests a second", statistics.median(r.capacity for r in several)),
            "rps": ("measured,", "requests a second", statistics.median(r.rps for r in several)),
            "busy": ("measured,", "cores that edges used", statistics.median(r.edges_busy for r in several)),
            "rest": ("measured,", "cores that all else used", statistics.median(r.rest_busy for r in several)),
        }
        key = f"edges_{several[0].edges}"
        found += [
            Figure(f"{key}_{part}", f"{said} {label}", unit, value, _COMMAND)
            for part, (said, unit, value) in parts.items()
        ]
    ratio = found[4].value / found[0].value
    share = statistics.median(r.least_share for r in together)
    return [
        Figure("edges_2", "capacity of 2 edges on one port", "times that of 1", ratio, _COMMAND),
        *found,
        Figure("edges_2_share", "work of the edge that got less of it", "times an even share", share, _COMMAND),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt install wrk")
    figures.tell(measure(options.seconds, options.rounds), options.out)


if __name__ == "__main__":
    main()
