"""The wall clock and the monotonic clock: the only module that reads them."""

import time
from typing import Final

MS_PER_S: Final = 1000

monotonic_s = time.monotonic
"""Seconds that never go back; for durations and deadlines."""


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
