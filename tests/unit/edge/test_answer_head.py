"""Unit tests of services.edge.answer_head."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.answer_head import read_answer_head, reset_ms

NOW_MS = 1_790_000_000_000  # 2026-09-21T14:13:20Z


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("7", 7_000),
        ("0", 0),
        ("1.5", 1_500),
        ("350ms", 350),
        ("6m0s", 360_000),
        ("1h2m3.5s", 3_723_500),
        ("1790000010", 10_000),
        ("1790000010500", 10_500),
        ("2026-09-21T14:13:30Z", 10_000),
        ("2026-09-21T14:13:30+00:00", 10_000),
        ("Mon, 21 Sep 2026 14:13:30 GMT", 10_000),
        ("Mon, 21 Sep 2026 14:13:10 GMT", 0),
        ("1789999990", 0),
        ("-5", 0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("5 apples", None),
    ],
)
def test_a_moment_is_read_in_every_form_that_providers_write(text: str, ms: int | None) -> None:
    assert reset_ms(text, NOW_MS) == ms


@given(st.text(max_size=40))
def test_no_text_makes_it_raise_or_answer_more_than_a_year_or_so(text: str) -> None:
    ms = reset_ms(text, NOW_MS)
    assert ms is None or 0 <= ms <= 400 * 86_400_000


def test_headers_are_sorted_and_what_tells_of_our_account_is_kept_from_the_client() -> None:
    head = read_answer_head(
        [
            (b"Content-Type", b"application/json"),
            (b"Request-Id", b"req_1"),
            (b"anthropic-organization-id", b"ours"),
            (b"anthropic-ratelimit-requests-limit", b"50"),
            (b"Retry-After", b"3"),
            (b"Content-Encoding", b"gzip"),
        ]
    )
    assert head.passed_back == [(b"content-type", b"application/json"), (b"request-id", b"req_1")]
    assert (head.content_type, head.content_encoding, head.request_id) == (b"application/json", b"gzip", "req_1")
    assert head.retry_after_ms(NOW_MS) == 3_000


def test_an_upstreams_id_has_one_name_towards_the_client_whatever_its_api_calls_it() -> None:
    openais = read_answer_head([(b"X-Request-Id", b"req_2")])
    assert (openais.request_id, openais.passed_back) == ("req_2", [(b"request-id", b"req_2")])
    both = read_answer_head([(b"x-request-id", b"req_2"), (b"request-id", b"req_1")])
    assert (both.request_id, both.passed_back) == ("req_1", [(b"request-id", b"req_1")])


def test_the_smallest_share_that_is_left_counts() -> None:
    head = read_answer_head(
        [
            (b"anthropic-ratelimit-requests-limit", b"50"),
            (b"anthropic-ratelimit-requests-remaining", b"49"),
            (b"anthropic-ratelimit-requests-reset", b"2026-09-21T14:13:30Z"),
            (b"anthropic-ratelimit-input-tokens-limit", b"1000"),
            (b"anthropic-ratelimit-input-tokens-remaining", b"50"),
            (b"anthropic-ratelimit-input-tokens-reset", b"2026-09-21T14:13:21Z"),
        ]
    )
    assert head.left(NOW_MS) == (50_000, 1_000)


def test_openai_names_the_same_things_the_other_way_round() -> None:
    head = read_answer_head(
        [
            (b"x-ratelimit-limit-requests", b"100"),
            (b"x-ratelimit-remaining-requests", b"0"),
            (b"x-ratelimit-reset-requests", b"1m30s"),
        ]
    )
    assert head.left(NOW_MS) == (0, 90_000)
    assert head.retry_after_ms(NOW_MS) == 90_000


@pytest.mark.parametrize(
    ("headers", "ms"),
    [
        ([(b"anthropic-ratelimit-unified-reset", b"1790000060")], 60_000),
        ([(b"anthropic-ratelimit-unified-reset", b"2026-09-21T14:14:20Z")], 60_000),
        ([(b"retry-after", b"5"), (b"anthropic-ratelimit-unified-reset", b"1790000060")], 5_000),
        ([(b"retry-after", b"Mon, 21 Sep 2026 14:13:30 GMT")], 10_000),
        ([(b"retry-after", b"0")], 1),
        ([(b"retry-after", b"whenever")], 0),
        ([], 0),
    ],
)
def test_when_to_ask_again_is_what_the_upstream_says(headers: list[tuple[bytes, bytes]], ms: int) -> None:
    assert read_answer_head(headers).retry_after_ms(NOW_MS) == ms


@pytest.mark.parametrize("value", [b"", b"many", b"-1", b"1e99", b"9" * 30, "²".encode()])
def test_a_limit_that_cannot_be_read_says_nothing(value: bytes) -> None:
    head = read_answer_head(
        [(b"anthropic-ratelimit-requests-limit", value), (b"anthropic-ratelimit-requests-remaining", b"1")]
    )
    assert head.left(NOW_MS) is None
