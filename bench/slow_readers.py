"""What clients that read a byte a second cost the edge, while others go on; and what a large body costs.

    .venv/bin/python bench/slow_readers.py [--readers 100] [--megabytes 10] [--seconds 20] [--out FILE]

An upstream of its own sends each stream as fast as it is taken. What is resident above idle may not grow with the
streams' length: a reader that is slow holds back its upstream, not the process.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

from bench import figures, processes, targets
from bench.figures import Figure
from bench.firehose import Firehose, firehose
from bench.readers import SlowReaders
from tests.deployment import Deployment, eventually

MB = 1_000_000
BODY_BYTES = 20 * MB
_PLAIN_AFTER_S = 1.0
_ONE_BYTE_S = 1.0
_QUIET_S = 1.0
_BEGUN_WITHIN_S = 60


def message(text: str) -> bytes:
    """A plain request."""
    body = {"model": targets.MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
    return json.dumps(body).encode()


class Others:
    """A client that asks one plain request after the other, and how long each took."""

    def __init__(self, deployment: Deployment) -> None:
        self.took_ms: list[float] = []
        self.failed = 0
        self._deployment = deployment
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Others":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        headers = {"x-api-key": self._deployment.key}
        while not self._over.wait(0.02):
            began_s = time.monotonic()
            # The simulator's own model: the firehose is the slow readers' alone.
            body = json.dumps(
                {"model": "claude-sonnet-4-6", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
            ).encode()
            answer = self._deployment.call("POST", "/v1/messages", headers, body)
            self.took_ms.append((time.monotonic() - began_s) * 1000)
            self.failed += answer.status != 200


def slow(deployment: Deployment, hose: Firehose, readers: int, seconds: float) -> list[Figure]:
    """So many streams that are read a byte a second."""
    (edge,) = deployment.pids("edge")
    idle_mib = processes.resident_mib([edge])
    most_mib = idle_mib
    with (
        Others(deployment) as others,
        SlowReaders(deployment.base_url, deployment.key, targets.MODEL, readers) as slow_readers,
    ):
        eventually(lambda: len(hose.sent_bytes) >= readers, within_s=_BEGUN_WITHIN_S, what="every stream has begun")
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            slow_readers.read_a_byte()
            most_mib = max(most_mib, processes.resident_mib([edge]))
            time.sleep(_ONE_BYTE_S)
    if others.failed:
        raise SystemExit(f"{others.failed} of {len(others.took_ms)} other requests failed")
    took_ms, command = sorted(others.took_ms), "slow_readers.py"
    label = f"{readers} slow readers of {hose.stream_bytes // MB} MB each"
    sent_mib = max(hose.sent_bytes.values()) / processes.MIB
    return [
        Figure("slow_readers_growth", f"edge, {label}", "MiB above idle", most_mib - idle_mib, command),
        Figure("slow_readers_sent", f"the most that an upstream could send, {label}", "MiB", sent_mib, command),
        Figure("slow_readers_p50", f"other requests, {label}, p50", "ms", took_ms[len(took_ms) // 2], command),
    ]


def large_body(deployment: Deployment) -> Figure:
    """The most that is resident above idle while one large body is under way to an upstream that takes its time."""
    (edge,) = deployment.pids("edge")
    body, headers = message("x" * BODY_BYTES), {"x-api-key": deployment.key}
    time.sleep(_QUIET_S)
    idle_mib = processes.resident_mib([edge])
    processes.forget_peak(edge)
    answer = deployment.call("POST", "/v1/messages", headers, body)
    if answer.status != 200:
        raise SystemExit(f"the large body was answered with {answer.status}: {answer.body[:300]!r}")
    grown_mib = processes.peak_mib(edge) - idle_mib
    return Figure("body_growth", "edge, a body of 20 MB under way", "MiB above idle", grown_mib, "slow_readers.py")


def measure(readers: int, stream_bytes: int, seconds: float) -> list[Figure]:
    """Both, on a Tollhouse of their own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        firehose(stream_bytes, _PLAIN_AFTER_S) as hose,
        targets.tollhouse(Path(folder), upstream=hose.url) as deployment,
    ):
        deployment.call("POST", "/v1/messages", {"x-api-key": deployment.key}, message("Hello"))
        body = large_body(deployment)
        return [body, *slow(deployment, hose, readers, seconds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    figures.tell(measure(options.readers, options.megabytes * MB, options.seconds), options.out)


if __name__ == "__main__":
    main()
