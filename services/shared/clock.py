"""The wall clock and the monotonic clock: the only module that reads them."""

import time
from datetime import UTC, datetime
from typing import Final

MS_PER_S: Final = 1000

monotonic_s = time.monotonic
"""Seconds that never go back; for durations and deadlines."""


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def now_iso() -> str:
    """The time for logs: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
