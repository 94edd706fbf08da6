"""`make bench`: starts Tollhouse with a mock upstream, measures it with measure.py, prints a table.

    .venv/bin/python bench/run.py [--phases check,latency,unary,large,burst,paced,ttft,hold] [--out FILE]

Needs wrk (Debian: apt install wrk) and two free cores: the gateway and its services on one, mock and load on the other.
With nginx installed, a plain nginx in front of the same mock is measured in the same sitting for the ratio.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TOLLHOUSE = Path(sys.executable).parent / "tollhouse"
MODEL = "claude-sonnet-4-5-20250929"
MOCK = "http://127.0.0.1:9100"
SERVICES = ("auth", "router", "ledger", "nats", "postgres")
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream mock {{ server 127.0.0.1:9100; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 64m; client_body_buffer_size 1m;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@contextlib.contextmanager
def tollhouse(folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """A Tollhouse whose demo tenant is rich and whose model is served by the mock; its ready line and a key."""
    state = str(folder / "state")
    process = subprocess.Popen(
        [TOLLHOUSE, "up", "--json", "--state-dir", state, "--port", "18080", "--console-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        credential = folder / "credential"
        credential.write_text("bench")
        add = ["account", "add", "--kind", "anthropic", "--name", "mock", "--priority", "1", "--models", MODEL]
        command([*add, "--base-url", MOCK, "--key-file", str(credential)], state)
        command(["topup", "demo", "1000000"], state)
        yield ready, ready["api_key"]
    finally:
        process.terminate()
        process.wait(60)


def command(arguments: list[str], state: str) -> None:
    subprocess.run([TOLLHOUSE, *arguments, "--state-dir", state], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """A plain reverse proxy in front of the mock; its pid."""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=18090))
    process = subprocess.Popen(["nginx", "-c", config], stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def measure(arguments: list[str], phases: str) -> dict[str, Any]:
    """Runs measure.py; it starts the mock."""
    tool = [sys.executable, str(HERE / "measure.py"), "--mock", MOCK, *arguments]
    if phases:
        tool += ["--phases", phases]
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    result: dict[str, Any] = json.loads(
        subprocess.run(tool, check=True, stdout=subprocess.PIPE, env=environment).stdout
    )
    return result


def rows(result: dict[str, Any], floor: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    """Figure, value, times nginx."""

    def ratio(value: float, phase: str, key: str = "cpu_us_total") -> str:
        return f"{value / floor[phase][key]:.1f}" if floor and phase in floor else ""

    for phase, label in (("unary", "small plain request"), ("large", "64 KiB prompt"), ("burst", "64-event burst")):
        if phase in result:
            cost = result[phase]["cpu_us"]
            decisions = cost["auth"] + cost["router"]
            booking = cost["ledger"] + cost["nats"] + cost["postgres"]
            yield f"edge, {label}, us of CPU", f"{cost['gateway']:.0f}", ratio(cost["gateway"], phase)
            yield f"auth + router, {label}, us of CPU", f"{decisions:.0f}", ""
            yield f"ledger + NATS + Postgres, {label}, us of CPU", f"{booking:.0f}", ""
            total = result[phase]["cpu_us_total"]
            yield f"all processes, {label}, us of CPU", f"{total:.0f}", ratio(total, phase)
            yield f"requests a second on one core, all processes, {label}", f"{result[phase]['rps']:.0f}", ""
    if "paced" in result:
        each = result["paced"]["cpu_us"]["gateway"] / result["paced"]["events"]
        yield "edge, paced stream, us of CPU for each of its events, all in", f"{each:.0f}", ""
        event = result["paced"]["cpu_us_per_event"]
        yield (
            "all processes, each paced stream event, us of CPU",
            f"{event:.0f}",
            ratio(event, "paced", "cpu_us_per_event"),
        )
    if "latency" in result:
        for conns in ("c1", "c32"):
            one = result["latency"][conns]
            added = f"{one['added_p50_us'] / 1000:.2f} / {one['added_p99_us'] / 1000:.2f}"
            yield f"added latency, {conns[1:]} connections, p50 / p99, ms", added, ""
    if "ttft" in result:
        one = result["ttft"]
        yield "added time to first token, p50 / p99, ms", f"{one['added_p50_ms']:.2f} / {one['added_p99_ms']:.2f}", ""
    if "hold" in result:
        memory = result["hold"]["memory_mb"]["gateway"]["rss"]
        yield f"edge, resident with {result['hold']['peak_open']} streams open, MiB", f"{memory:.0f}", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phases", default="")
    parser.add_argument("--out", help="append the raw results as lines of JSON to this file")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt install wrk")
    floor = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = ["--out", options.out] if options.out else []
        if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
            with nginx(folder) as pid:
                floor = measure(
                    ["--name", "nginx", "--pid", str(pid), "--url", "http://127.0.0.1:18090", *out], options.phases
                )
        with tollhouse(folder) as (ready, key):
            sidecars = [f"--sidecar={service}={pid}" for service in SERVICES for pid in ready["pids"][service]]
            edges = [f"--pid={pid}" for pid in ready["pids"]["edge"]]
            target = ["--name", "tollhouse", "--url", ready["base_url"], "--header", f"x-api-key: {key}"]
            result = measure([*target, *edges, *sidecars, "--drain", "3", *out], options.phases)
    print("| figure | Tollhouse | x nginx |\n|---|---|---|")
    for row in rows(result, floor):
        print(f"| {' | '.join(row)} |")
    errors = {
        phase: value["errors"] for phase, value in result.items() if isinstance(value, dict) and "errors" in value
    }
    print(f"\ncalibration {result['calibration']}, errors {errors}")


if __name__ == "__main__":
    main()
