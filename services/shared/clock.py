"""The wall clock and the monotonic clock: the only module that reads them."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

MS_PER_S: Final = 1000

monotonic_s = time.monotonic
"""Seconds that never go back; for durations and deadlines."""

thread_s = time.thread_time
"""Seconds that this thread has run."""


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def now_ns() -> int:
    """Unix time in nanoseconds."""
    return time.time_ns()


def now_iso() -> str:
    """The time for logs: UTC, ISO 8601, milliseconds."""
    second, ms = divmod(now_ms(), MS_PER_S)
    return f"{_second_iso(second)}.{ms:03d}Z"


@lru_cache(maxsize=2)
def _second_iso(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
