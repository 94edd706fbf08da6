"""The log of ended requests, and what the last of them say of this edge."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from services.shared import clock
from services.shared.telemetry import RecordLog

_WINDOW_S: Final = 60
_DURATIONS: Final = 512
_FAILED: Final = 500


class RequestLog(RecordLog):
    """Logs each request, and counts those of the last minute by the second of `now_s`, a monotonic clock."""

    def __init__(self, now_s: Callable[[], float] = clock.monotonic_s) -> None:
        super().__init__("request_ended", service="edge")
        self._now_s = now_s
        self._seconds: deque[list[int]] = deque(maxlen=_WINDOW_S)  # [second, requests, failed]
        self._durations_ms: deque[int] = deque(maxlen=_DURATIONS)

    def add(self, **fields: Any) -> None:
        """Logs one request. Its `status` and `duration_ms` count; no status means that its client left first."""
        super().add(**fields)
        second = int(self._now_s())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        self._seconds[-1][1] += 1
        self._seconds[-1][2] += (fields["status"] or 0) >= _FAILED
        self._durations_ms.append(fields["duration_ms"])

    def figures(self) -> dict[str, float]:
        """Requests of the last minute, those that failed (a status of 500 and above), and how long the last ones took,
        at most 512 of them: half of them at most `p50_ms`, 95 of a hundred at most `p95_ms`."""
        since = int(self._now_s()) - _WINDOW_S
        recent = [counts for counts in self._seconds if counts[0] > since]
        taken = sorted(self._durations_ms) if recent else []
        return {
            "requests": sum(counts[1] for counts in recent),
            "failed": sum(counts[2] for counts in recent),
            "p50_ms": taken[len(taken) // 2] if taken else 0,
            "p95_ms": taken[len(taken) * 95 // 100] if taken else 0,
        }
