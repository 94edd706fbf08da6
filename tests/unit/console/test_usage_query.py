"""Unit tests of services.console.usage_query and services.console.usage_sums."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest

from services.console import usage_sums
from services.console.usage_query import UsageQuery
from services.shared import ids
from tollhouse.v1 import types_pb2, usage_pb2

NOW = datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 86_400_000


def ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


def read(**asked: str) -> UsageQuery:
    return UsageQuery.read(asked, NOW_MS)


def bucket(start_ms: int, cost: int = 1, key: str = "", model: str = "", **tokens: int) -> usage_pb2.UsageBucket:
    counts = types_pb2.TokenCounts(**tokens)
    return usage_pb2.UsageBucket(start_ms=start_ms, requests=1, cost_nano=cost, key_id=key, model=model, tokens=counts)


def test_a_week_of_days_is_what_nobody_asked_for() -> None:
    query = read()
    assert (query.range, query.period, query.from_ms) == ("7d", "day", ms(2026, 11, 15))
    assert NOW_MS < query.to_ms <= NOW_MS + 60_000


def test_a_day_is_shown_by_the_hour() -> None:
    query = read(range="24h")
    assert (query.period, query.from_ms) == ("hour", ms(2026, 11, 20, 13))
    assert len(usage_sums.starts(query.from_ms, query.to_ms, "hour")) == 24


def test_dates_are_whole_days_of_utc_and_both_included() -> None:
    query = read(since="2026-11-01", until="2026-11-02", range="30d")
    assert (query.range, query.from_ms, query.to_ms) == ("", ms(2026, 11, 1), ms(2026, 11, 3))


@pytest.mark.parametrize(
    "asked",
    [
        {"range": "9000d"},
        {"since": "2026-11-02", "until": "2026-11-01"},
        {"since": "2020-01-01", "until": "2026-11-01"},
        {"since": "yesterday", "until": "today"},
        {"by": "tenant", "measure": "margin", "period": "second", "status": "any", "after": "nonsense"},
    ],
)
def test_what_makes_no_sense_is_as_if_it_was_not_said(asked: dict[str, str]) -> None:
    assert read(**asked) == read()


def test_hours_are_told_for_a_month_at_most() -> None:
    assert read(range="30d", period="hour").period == "hour"
    assert read(range="90d", period="hour").period == "day"


def test_an_address_leads_back_to_its_view() -> None:
    query = read(range="30d", by="model", measure="tokens", key="key_1", model="a/b&c", status="ok", period="day")
    again = UsageQuery.read(dict(parse_qsl(query.address())), NOW_MS)
    assert again == query
    assert "after" not in query.behind(ids.request_id()).address()


def test_what_is_asked_of_the_ledger_is_of_one_tenant() -> None:
    query = read(key="key_1", model="m", status="interrupted", by="key")
    assert query.listed("t1", 25).tenant_id == "t1"
    assert query.listed("t1", 25).to_ms == query.to_ms
    assert query.told_apart("t1").tenant_id == "t1"
    assert query.told_apart("t1").groups == [usage_pb2.USAGE_GROUP_KEY]
    assert (query.told_apart("t1").key_id, query.told_apart("t1").model) == ("key_1", "m")
    assert (query.summed("t1").key_id, query.summed("t1").model) == ("key_1", "m")


def test_a_line_of_the_chart_is_of_one_subject_within_the_filters() -> None:
    asked = read(model="m", by="key").summed("t1", "key_2")
    assert (asked.tenant_id, asked.key_id, asked.model) == ("t1", "key_2", "m")


def test_spans_of_days_are_summed_to_the_end_of_their_last_day() -> None:
    asked = read(range="30d").whole("t1", usage_pb2.USAGE_GROUP_MODEL)
    assert (asked.from_ms, asked.to_ms) == (ms(2026, 10, 23), ms(2026, 11, 22))


def test_the_last_24_hours_are_not_summed_as_days() -> None:
    query = read(range="24h")
    asked = query.whole("t1", usage_pb2.USAGE_GROUP_MODEL)
    assert (asked.from_ms, asked.to_ms) == (query.from_ms, query.to_ms - 1)


def test_a_chart_has_no_gaps() -> None:
    days = [ms(2026, 11, day) for day in (19, 20, 21)]
    chart = usage_sums.chart([bucket(days[0], 5), bucket(days[2], 7)], {}, "cost", days)
    assert [list(row.values) for row in chart.rows] == [[5], [0], [7]]


def test_what_is_not_told_apart_is_one_line() -> None:
    start = ms(2026, 11, 21)
    sums = {f"key_{cost}": usage_sums.total([bucket(start, cost)]) for cost in range(1, 8)}
    shown = usage_sums.greatest(sums, "cost")
    assert shown == ["key_7", "key_6", "key_5", "key_4"]
    told = {subject: [bucket(start, sums[subject].cost_nano)] for subject in shown}
    chart = usage_sums.chart([bucket(start, 28)], told, "cost", [start], others=True)
    assert list(chart.names) == [*shown, usage_sums.OTHERS]
    assert list(chart.rows[0].values) == [7, 6, 5, 4, 6]


def test_a_table_of_many_subjects_ends_with_what_the_others_come_to() -> None:
    subjects = {f"key_{number}": usage_sums.total([bucket(0, 2)]) for number in range(usage_sums.SUBJECTS_MOST + 3)}
    shown, rest, further = usage_sums.shortened(subjects)
    assert (len(shown), further, rest.cost_nano, rest.requests) == (usage_sums.SUBJECTS_MOST, 3, 6, 3)


def test_the_dearest_stand_first() -> None:
    buckets = [bucket(0, 1, model="a"), bucket(1, 5, model="b"), bucket(2, 2, model="a", input=3, cache_read=1)]
    found = usage_sums.by_subject(buckets, "model")
    assert list(found) == ["b", "a"]
    assert (found["a"].cost_nano, found["a"].prompt_tokens, found["a"].cached_percent) == (3, 4, 25)


def test_pace_is_of_the_window_or_of_the_time_that_a_sample_covers() -> None:
    counts = types_pb2.TokenCounts(input=100, output=20)
    usages = [usage_pb2.Usage(created_ms=NOW_MS - ago, tokens=counts) for ago in (0, 15_000)]
    assert usage_sums.tokens_a_minute(usages, True, NOW_MS, 60_000) == 240
    assert usage_sums.tokens_a_minute(usages, False, NOW_MS, 60_000) == 960
    assert usage_sums.tokens_a_minute([], True, NOW_MS, 60_000) == 0
