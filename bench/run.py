"""What a request costs: Tollhouse, the bare relay, nginx and direct calls in front of one mock upstream, measured with
measure.py in one sitting.

    .venv/bin/python bench/run.py [--scenes plain,burst,...] [--only tollhouse] [--out FILE]

Needs wrk (Debian: apt install wrk) and two free cores: the gateway and its services on one, mock and load on the other.
nginx is measured where it is installed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import figures, targets
from bench.figures import Figure
from tests.deployment import free_port

DRAIN_S = "3"
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Scene:
    """One phase of measure.py.

    Args:
        label: what it is called in figures.
        phase: of measure.py.
        options: of measure.py; scenes that have them alike share one run.
        direct: whether direct calls are measured apart; `latency` and `ttft` measure them beside each figure.
    """

    label: str
    phase: str
    options: tuple[str, ...] = ()
    direct: bool = False


OPENAI = ("--api", "openai", "--model", targets.MODEL)
SCENES: Mapping[str, Scene] = {
    "latency": Scene("", "latency"),
    "plain": Scene("small plain request", "unary", direct=True),
    "burst": Scene("64-event burst", "burst", direct=True),
    "paced": Scene("paced stream", "paced"),
    "paced_busy": Scene("paced stream (128 at 10 ms)", "paced", ("--streams", "128", "--delay-ms", "10")),
    "ttft": Scene("", "ttft"),
    "body32": Scene("32 KB body", "large", ("--large-bytes", str(32 << 10)), direct=True),
    "body200": Scene("200 KB body", "large", ("--large-bytes", str(200 << 10)), direct=True),
    "translated": Scene("translated plain request", "unary", OPENAI),
    "translated_burst": Scene("translated 64-event burst", "burst", OPENAI),
    "translated_paced": Scene("translated paced stream", "paced", OPENAI),
    "streams": Scene("", "hold", ("--hold", "1000")),
}


class Results:
    """What measure.py said, by target and scene."""

    def __init__(self, scenes: Sequence[str], mock: str, *, quick: bool) -> None:
        self._scenes = scenes
        self._mock = mock
        self._quick = ["--rounds", "1", "--seconds", "3", "--warmup", "3"] if quick else []
        self._by_target: dict[str, dict[str, Result]] = {}

    def measure(self, target: str, arguments: Sequence[str]) -> None:
        """Runs measure.py once for all scenes that share options; it starts the mock."""
        found = self._by_target[target] = {}
        groups: dict[tuple[str, ...], list[str]] = {}
        for name in self._scenes:
            if target == "direct" and not SCENES[name].direct:
                continue
            groups.setdefault(SCENES[name].options, []).append(name)
        for options, names in groups.items():
            phases = ",".join(["check", *dict.fromkeys(SCENES[name].phase for name in names)])
            tool = [sys.executable, str(targets.HERE / "measure.py"), "--name", target, "--mock", self._mock]
            command = [*tool, *arguments, *options, *self._quick, "--phases", phases]
            environment = os.environ | {"PATH": targets.PATH}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            result = json.loads(done.stdout)
            for name in names:
                phase = result[SCENES[name].phase]
                if phase.get("errors"):
                    print(f"{target}, {name}: {phase['errors']} errors {phase.get('error_sample')}", file=sys.stderr)
                found[name] = phase | {"calibration_ms": result["calibration"]["median_ms"]}

    def of(self, name: str, target: str = "tollhouse") -> Result | None:
        """A scene's result; None where it was not measured."""
        return self._by_target.get(target, {}).get(name)

    def ratios(self, name: str, value: float, *path: str) -> dict[str, float]:
        """How many times what the others cost this is; `path` leads to their figure in the scene's result."""
        found = {}
        for target in figures.RATIOS:
            other: Any = self.of(name, target)
            for step in path:
                other = (other or {}).get(step)
            if other and other > 0:
                found[target] = value / other
        return found


def path_figures(results: Results) -> Iterator[Figure]:
    """Every figure of the scenes that were measured."""
    for name, scene in SCENES.items():
        result = results.of(name)
        if result is None:
            continue
        command = f"run.py --scenes {name}"
        if scene.phase in ("unary", "large", "burst"):
            yield from _costs(results, name, result, command)
        elif scene.phase == "paced":
            yield from _paced(results, name, result, command)
        elif scene.phase == "latency":
            yield from _latency(results, name, result, command)
        elif scene.phase == "ttft":
            for part in ("p50", "p99"):
                added_ms, whole = result[f"added_{part}_ms"], result[f"gateway_{part}_ms"] / result[f"direct_{part}_ms"]
                ratios = results.ratios(name, added_ms, f"added_{part}_ms") | {"direct": whole}
                label = f"added time to first token at light load, {part}"
                yield Figure(f"ttft_{part}", label, "ms", added_ms, command, ratios)
        elif scene.phase == "hold":
            resident = result["memory_mb"]["gateway"]["rss"]
            ratios = results.ratios(name, resident, "memory_mb", "gateway", "rss")
            label = f"edge, {result['peak_open']:,} paced streams open, resident"
            yield Figure("streams_resident", label, "MiB", resident, command, ratios)


def _costs(results: Results, name: str, result: Result, command: str) -> Iterator[Figure]:
    cpu, label, speed = result["cpu_us"], SCENES[name].label, result["calibration_ms"]
    edge, total = cpu["gateway"], result["cpu_us_total"]
    unit, whole = "us of CPU", ("cpu_us", "gateway")
    yield Figure(f"{name}_edge", f"edge, {label}", unit, edge, command, results.ratios(name, edge, *whole), speed)
    decisions, booking = cpu["auth"] + cpu["router"], cpu["ledger"] + cpu["nats"] + cpu["postgres"]
    yield Figure(f"{name}_decisions", f"auth + router, {label}", unit, decisions, command, {}, speed)
    yield Figure(f"{name}_booking", f"ledger + NATS + Postgres, {label}", unit, booking, command, {}, speed)
    ratios = results.ratios(name, total, *whole)
    yield Figure(f"{name}_all", f"all processes, {label}", unit, total, command, ratios, speed)
    ratios = results.ratios(name, result["rps"], "rps")
    yield Figure(
        f"{name}_rps", f"all processes on one core, {label}", "requests a second", result["rps"], command, ratios
    )


def _paced(results: Results, name: str, result: Result, command: str) -> Iterator[Figure]:
    label, speed, events = SCENES[name].label, result["calibration_ms"], result["events"]
    each = result["cpu_us"]["gateway"] / events
    ratios = results.ratios(name, each * events, "cpu_us", "gateway")
    yield Figure(f"{name}_event_edge", f"edge, each {label} event, all in", "us of CPU", each, command, ratios, speed)
    each = result["cpu_us_per_event"]
    ratios = results.ratios(name, each, "cpu_us_per_event")
    further = f"all processes, each further {label} event"
    yield Figure(f"{name}_event_all", further, "us of CPU", each, command, ratios, speed)


def _latency(results: Results, name: str, result: Result, command: str) -> Iterator[Figure]:
    for conns, said in (("c1", "1 connection"), ("c32", "32 connections that saturate the core")):
        one = result[conns]
        for part in ("p50", "p99"):
            added_us, whole = one[f"added_{part}_us"], one["gateway"][f"{part}_us"] / one["direct"][f"{part}_us"]
            ratios = results.ratios(name, added_us, conns, f"added_{part}_us") | {"direct": whole}
            label = f"added latency, {said}, {part}"
            yield Figure(f"latency_{conns}_{part}", label, "ms", added_us / 1000, command, ratios)


def measure(scenes: Sequence[str], only: Sequence[str] = (), *, quick: bool = False) -> list[Figure]:
    """Measures scenes with every target, or with some of them."""
    mock = f"http://127.0.0.1:{free_port()}"
    results = Results(scenes, mock, quick=quick)

    def wanted(target: str) -> bool:
        return not only or target in only

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if wanted("direct") and any(SCENES[scene].direct for scene in scenes):
            results.measure("direct", [])
        if wanted("bare"):
            with targets.bare(mock) as (pid, url):
                results.measure("bare", [f"--pid={pid}", "--url", url])
        if wanted("nginx") and targets.nginx_is_installed():
            with targets.nginx(folder, mock) as (pid, url):
                results.measure("nginx", [f"--pid={pid}", "--url", url])
        with targets.tollhouse(folder, upstream=mock) as deployment:
            sidecars = [f"--sidecar={part}={pid}" for part in targets.SERVICES for pid in deployment.pids(part)]
            edges = [f"--pid={pid}" for pid in deployment.pids("edge")]
            # The key as the header of either API brings it.
            key = ["--header", f"x-api-key: {deployment.key}", "--header", f"authorization: Bearer {deployment.key}"]
            results.measure("tollhouse", ["--url", deployment.base_url, *key, *edges, *sidecars, "--drain", DRAIN_S])
    return list(path_figures(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default=",".join(SCENES), help="between commas (default: %(default)s)")
    parser.add_argument(
        "--only", default="", help="targets between commas: tollhouse, bare, nginx, direct; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="one short round each")
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt install wrk")
    scenes = options.scenes.split(",")
    if unknown := set(scenes) - SCENES.keys():
        parser.error(f"no scene is called {', '.join(sorted(unknown))}")
    only = options.only.split(",") if options.only else []
    figures.tell(measure(scenes, only, quick=options.quick), options.out)


if __name__ == "__main__":
    main()
