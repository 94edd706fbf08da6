"""Unit tests of services.embedded.status and services.embedded.seed."""

from services.embedded.seed import cache_rates
from services.embedded.status import ProcessStatus, table


def test_the_table_has_a_line_for_each_process() -> None:
    rows = [
        ProcessStatus("auth", 12, "healthy", 0, 51.24, "127.0.0.1:7001", 9),
        ProcessStatus("edge-0", None, "down", 3, 0.0, "http://127.0.0.1:8080", 0),
    ]
    assert table(rows).splitlines() == [
        "NAME    PID  HEALTH   RESTARTS  MEMORY   UPTIME  ADDRESS",
        "auth    12   healthy  0         51.2 MB  9 s     127.0.0.1:7001",
        "edge-0  -    down     3         0.0 MB   0 s     http://127.0.0.1:8080",
    ]


def test_cache_rates_follow_the_input_rate_exactly() -> None:
    assert cache_rates(3_000_000) == (300_000, 3_750_000, 6_000_000)
    assert cache_rates(800_000) == (80_000, 1_000_000, 1_600_000)
