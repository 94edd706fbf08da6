"""Where the CPU of a process goes under load, room by room.

    .venv/bin/python bench/hotspots.py [--scenes plain,burst,...] [--part edge] [--write]

Needs wrk, and py-spy (`pip install py-spy`; https://github.com/benfred/py-spy), which looks 250 times a second what the
process is at. A sample counts for the innermost room that one of its frames belongs to; what a library does for a room
counts for that room only where the library has none of its own. Threads of gRPC that run no Python are taken from
/proc. With --write the table goes into docs/BENCHMARKS.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench import report, targets
from tests.deployment import Deployment, free_port

BEGIN: Final = "<!-- hotspots: begin, written by bench/hotspots.py --write -->"
END: Final = "<!-- hotspots: end -->"
SETTLE_S: Final = 3.0
ROOMS: Final[Mapping[str, Sequence[str]]] = {
    "HTTP server: uvicorn, httptools, our limits": (
        "uvicorn/",
        "services/shared/connections.py",
        "services/shared/web",
    ),
    "upstream client: transport": ("services/edge/transport", "aiohttp/"),
    "gRPC, its Python side": ("grpc/",),
    "questions to auth and router, batched": (
        *("services/shared/batching.py", "services/edge/admission.py", "services/edge/picks.py"),
        *("services/edge/replicas.py", "services/edge/hold.py", "services/edge/renewals.py"),
    ),
    "usage events, journal, settlement": (
        *("services/edge/exchange.py", "services/edge/journal.py", "services/edge/records.py"),
        "services/edge/outbox.py",
    ),
    "JetStream: nats-py": ("nats/",),
    "metering": ("services/edge/metering.py", "services/edge/openai_metering.py", "services/edge/answer_head.py"),
    "reading the request": (
        *("services/edge/dialects/asked.py", "services/edge/dialects/anthropic_requests.py"),
        *("services/edge/dialects/openai_requests.py", "services/edge/head.py", "services/edge/incoming.py"),
        *("services/edge/sizing.py", "services/edge/conversation.py", "services/edge/principals.py"),
        *("services/edge/access.py", "services/edge/routes.py", "services/edge/brand"),
    ),
    "translation": ("services/edge/dialects/", "services/edge/translations.py"),
    "the way there and back: passage, reply": ("services/edge/passages.py", "services/edge/reply.py"),
    "metrics, traces, log": (
        *("services/edge/metrics.py", "services/edge/traces.py", "services/edge/request_log.py"),
        *("services/shared/metrics.py", "services/shared/tracing.py", "services/shared/telemetry.py"),
    ),
    "relay, in order": ("services/edge/",),
    "event loop, sockets, tasks": ("uvloop/", "asyncio/"),
}
"""By the paths of frames, the first that fits counts: a room's own before the one around it."""
ELSEWHERE: Final = "elsewhere"
THREADS: Final = "threads of gRPC"


class Scene(NamedTuple):
    """A load of bench/load.py."""

    label: str
    options: Sequence[str]


OPENAI: Final = ("--api", "openai", "--model", targets.MODEL)
SCENES: Final[Mapping[str, Scene]] = {
    "plain": Scene("plain, 2 KB", ("wrk",)),
    "body32": Scene("32 KB body", ("wrk", "--prompt-bytes", str(32 << 10))),
    "body200": Scene("200 KB body", ("wrk", "--prompt-bytes", str(200 << 10))),
    "burst": Scene("64-event burst", ("wrk", "--stream")),
    "paced": Scene("paced stream", ("paced", "--streams", "32")),
    "translated_burst": Scene("translated burst", ("wrk", "--stream", *OPENAI)),
}


class Threads(NamedTuple):
    """CPU of a process in clock ticks: of its main thread, and of all others."""

    main: int
    others: int


def threads(pid: int) -> Threads:
    """What its threads have taken until now (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html)."""
    taken: dict[int, int] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        taken[int(task.name)] = int(fields[11]) + int(fields[12])
    return Threads(taken.pop(pid), sum(taken.values()))


def room(frames: Sequence[str]) -> str:
    """Whose a sample is; its frames from the outermost to the innermost."""
    for frame in reversed(frames):
        for name, paths in ROOMS.items():
            if any(path in frame for path in paths):
                return name
    return ELSEWHERE


def shares(samples: Iterator[str], taken: Threads) -> dict[str, float]:
    """The part of a process's CPU that each room takes, from py-spy's lines: frames between semicolons, and how often
    they were seen."""
    seen: Counter[str] = Counter()
    for line in samples:
        frames, _, count = line.rpartition(" ")
        seen[room(frames.split(";"))] += int(count)
    whole, ticks = sum(seen.values()), taken.main + taken.others
    if not whole or not ticks:
        raise SystemExit("nothing was seen: does the process run, and may py-spy look at it?")
    found = {name: count / whole * taken.main / ticks for name, count in seen.items()}
    return found | {THREADS: taken.others / ticks}


def looked_at(deployment: Deployment, part: str, scene: Scene, mock: str, seconds: float) -> dict[str, float]:
    """The shares of one process while the scene plays."""
    pid = deployment.pids(part)[0]
    key = ["--header", f"x-api-key: {deployment.key}", "--header", f"authorization: Bearer {deployment.key}"]
    model = [] if "--model" in scene.options else ["--model", targets.MODEL]
    command = [sys.executable, str(targets.HERE / "load.py"), *scene.options, *model, *key]
    command += ["--url", deployment.base_url, "--seconds", str(round(seconds + 2 * SETTLE_S))]
    environment = os.environ | {"PATH": targets.PATH}
    with tempfile.NamedTemporaryFile("r") as raw:
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        time.sleep(SETTLE_S)
        before = threads(pid)
        spy = ["py-spy", "record", "--nonblocking", "--format", "raw", "--rate", "250", "--pid", str(pid)]
        subprocess.run(
            [*spy, "--duration", str(round(seconds)), "--output", raw.name],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        after = threads(pid)
        load.wait()
        taken = Threads(after.main - before.main, after.others - before.others)
        return shares(iter(Path(raw.name).read_text().splitlines()), taken)


def table(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Markdown: a row a room, a column a scene, in hundredths of the process's CPU."""
    yield "| % of its CPU | " + " | ".join(SCENES[name].label for name in found) + " |"
    yield "|---|" + "---|" * len(found)
    rooms = [*ROOMS, ELSEWHERE, THREADS]
    for name in sorted(rooms, key=lambda name: -next(iter(found.values())).get(name, 0.0)):
        yield f"| {name} | " + " | ".join(f"{of.get(name, 0.0) * 100:.0f}" for of in found.values()) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default=",".join(SCENES), help="between commas (default: %(default)s)")
    parser.add_argument("--part", default="edge", help="edge, auth, router or ledger (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="how long each scene is looked at")
    parser.add_argument("--write", action="store_true", help="put the table into docs/BENCHMARKS.md")
    options = parser.parse_args()
    for tool in ("wrk", "py-spy"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    port, found = free_port(), dict[str, Mapping[str, float]]()
    mock = subprocess.Popen([sys.executable, str(targets.HERE / "mock_upstream.py"), "--port", str(port)])
    try:
        with tempfile.TemporaryDirectory() as folder:
            url = f"http://127.0.0.1:{port}"
            with targets.tollhouse(Path(folder), upstream=url) as deployment:
                for name in options.scenes.split(","):
                    found[name] = looked_at(deployment, options.part, SCENES[name], url, options.seconds)
    finally:
        mock.terminate()
    lines = list(table(found))
    print("\n".join(lines))
    if options.write:
        report.PAGE.write_text(report.with_section(report.PAGE.read_text(encoding="utf-8"), lines, BEGIN, END))


if __name__ == "__main__":
    main()
