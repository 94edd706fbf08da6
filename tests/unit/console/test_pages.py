"""Unit tests of what is pure in services.console.pages, and of how routes are made."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.routing import Route

from services.console import guards
from services.console.pages import ROUTES
from services.console.pages.overview import by_day
from services.console.pages.registration import patience
from services.console.throttle import Throttled
from tests.docs.pages import page, table_rows
from tollhouse.v1 import types_pb2, usage_pb2

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def bucket(day: int, month: int, requests: int, **tokens: int) -> usage_pb2.UsageBucket:
    start = ms(datetime(2026, month, day, tzinfo=UTC))
    return usage_pb2.UsageBucket(start_ms=start, requests=requests, tokens=types_pb2.TokenCounts(**cast(Any, tokens)))


def test_the_last_seven_days_are_shown_with_those_without_usage() -> None:
    days = by_day([bucket(27, 2, 3), bucket(1, 3, 5)], ms(NOON))
    assert [datetime.fromtimestamp(start / 1000, UTC).day for start, _ in days] == [23, 24, 25, 26, 27, 28, 1]
    assert [day.requests for _, day in days] == [0, 0, 0, 0, 3, 0, 5]


def test_the_share_of_the_cache_is_that_of_all_prompt_tokens() -> None:
    day = by_day([bucket(1, 3, 1, input=20, cache_read=60, cache_write_5m=10, cache_write_1h=10)], ms(NOON))[-1][1]
    assert day.cached_percent == 60
    assert by_day([], ms(NOON))[-1][1].cached_percent == 0


@pytest.mark.parametrize(
    ("wait_s", "said"), [(1.0, "a minute"), (60.0, "a minute"), (61.0, "2 minutes"), (900.0, "15 minutes")]
)
def test_how_long_to_wait_is_said_in_words(wait_s: float, said: str) -> None:
    assert said in patience(Throttled(wait_s))


def test_an_operators_page_cannot_be_put_elsewhere() -> None:
    with pytest.raises(AssertionError):
        guards.operator("/dashboard/all", cast(Any, SimpleNamespace(__name__="page")))


def test_every_page_is_in_the_list_of_pages() -> None:
    listed = " ".join(cells[0] for cells in table_rows(page("CONSOLE.md")))
    for route in ROUTES:
        assert isinstance(route, Route)
        first = "/" + route.path.split("/")[1]
        assert f"`{first}" in listed, route.path


def test_changes_are_posts_and_reading_changes_nothing() -> None:
    for route in ROUTES:
        assert isinstance(route, Route)
        assert route.methods in ({"GET", "HEAD"}, {"POST"}, {"PUT"}, {"DELETE"}, {"PATCH"}), route.path
