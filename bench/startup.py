"""How long an edge takes from exec until it is ready, and how much CPU, with all other services up.

    .venv/bin/python bench/startup.py [--starts 5] [--out FILE]

Each start is a further edge on the public port, of the command and the settings of the one that runs, but for its name,
its journal and its port for operators. The time ends at the first 200 of /readyz, which is asked every 5 ms.
"""

import argparse
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench import figures, processes, targets
from bench.figures import Figure
from tests.deployment import Deployment, free_port, request

_WITHIN_S = 30.0
_COMMAND = "startup.py"


def start(gateway: Deployment, number: int, folder: Path) -> tuple[float, float]:
    """Seconds from exec to ready, and of CPU until then."""
    (running,) = gateway.pids("edge")
    command = [part for part in Path(f"/proc/{running}/cmdline").read_text().split("\0") if part]
    environment = dict(
        line.split("=", 1) for line in Path(f"/proc/{running}/environ").read_text().split("\0") if "=" in line
    )
    port = free_port()
    environment |= {
        "TOLLHOUSE_EDGE_EDGE_ID": f"edge-start-{number}",
        "TOLLHOUSE_EDGE_JOURNAL_DIR": str(folder / f"journal-{number}"),
        "TOLLHOUSE_EDGE_OPS_PORT": str(port),
    }
    began_s = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _ready(port):
            if process.poll() is not None or time.monotonic() - began_s > _WITHIN_S:
                raise SystemExit("the edge did not become ready")
            time.sleep(0.005)
        return time.monotonic() - began_s, processes.cpu_s([process.pid])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def measure(starts: int) -> list[Figure]:
    """The medians of some starts."""
    with tempfile.TemporaryDirectory() as name, targets.tollhouse(Path(name)) as gateway:
        took = [start(gateway, number, Path(name)) for number in range(starts)]
    ready_s, cpu_s = (statistics.median(part) for part in zip(*took, strict=True))
    return [
        Figure("ready", "edge, from exec to ready", "s", ready_s, _COMMAND),
        Figure("ready_cpu", "edge, from exec to ready", "s of CPU", cpu_s, _COMMAND),
    ]


def _ready(port: int) -> bool:
    try:
        return request(f"http://127.0.0.1:{port}", "GET", "/readyz", timeout_s=1).status == 200
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    figures.tell(measure(options.starts), options.out)


if __name__ == "__main__":
    main()
