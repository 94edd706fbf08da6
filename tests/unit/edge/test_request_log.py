"""Unit tests of services.edge.request_log."""

import pytest

from services.edge import request_log
from services.edge.request_log import RequestLog


class Clock:
    """A clock that stands where it is put."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def test_requests_of_the_last_minute_count(capfd: pytest.CaptureFixture[str]) -> None:
    at = Clock()
    requests = RequestLog(at)
    for status, duration_ms in ((200, 10), (503, 30), (None, 20)):
        requests.add(status=status, duration_ms=duration_ms)
    assert requests.figures() == {"requests": 3, "failed": 1, "p50_ms": 20, "p95_ms": 30}
    at.now_s += request_log._WINDOW_S - 1
    requests.add(status=429, duration_ms=5)
    assert requests.figures()["requests"] == 4
    at.now_s += 1
    assert requests.figures()["requests"] == 1
    at.now_s += request_log._WINDOW_S
    assert requests.figures() == {"requests": 0, "failed": 0, "p50_ms": 0, "p95_ms": 0}
    requests.flush()
    assert capfd.readouterr().err.count("request_ended") == 4
