"""Unit tests of services.shared.ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import clock, ids

INSTANTS = st.integers(0, 253_402_300_799_999)
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


@given(INSTANTS)
def test_a_request_id_tells_when_it_was_made(unix_ms: int) -> None:
    assert ids.created_ms(ids.request_id(unix_ms)) == unix_ms


@given(INSTANTS, INSTANTS)
def test_ids_sort_by_the_time_they_were_made(one_ms: int, other_ms: int) -> None:
    if one_ms != other_ms:
        assert (ids.ulid(one_ms) < ids.ulid(other_ms)) == (one_ms < other_ms)


def test_a_new_request_id_was_made_now() -> None:
    before_ms = clock.now_ms()
    made_ms = ids.created_ms(ids.request_id())
    assert made_ms is not None
    assert before_ms <= made_ms <= clock.now_ms()


def test_ids_of_the_same_millisecond_differ() -> None:
    assert len({ids.request_id(1) for _ in range(10_000)}) == 10_000


def test_an_id_is_its_prefix_and_26_characters_of_crockfords_alphabet() -> None:
    id_ = ids.request_id()
    assert id_.startswith("req_")
    assert len(id_) == 30
    assert set(id_[4:]) <= set(CROCKFORD)


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "req_",
        "req_0",
        "01hzzzzzzzzzzzzzzzzzzzzzzz",  # no prefix
        "req_req_01hzzzzzzzzzzzzzzzzzzz",
        "req_01hzzzzzzzzzzzzzzzzzzzzzz",  # one character short
        "req_01hzzzzzzzzzzzzzzzzzzzzzzzz",  # one too many
        "req_01HZZZZZZZZZZZZZZZZZZZZZZZ",  # upper case
        "req_01hzzzzzzzzzzzzzzzzzzzzzzu",  # no character of the alphabet
        "req_01hzzzzzzzzzzzzzzzzzzzzzz\N{ARABIC-INDIC DIGIT ONE}",
        "req_8zzzzzzzzzzzzzzzzzzzzzzzzz",  # more than 128 bits
        "req_7zzzzzzzzzzzzzzzzzzzzzzzzz",  # the year 10889, which no date can hold
        "REQ_01hzzzzzzzzzzzzzzzzzzzzzzz",
    ],
)
def test_garbage_is_no_request_id(garbage: str) -> None:
    assert ids.created_ms(garbage) is None


@given(st.text(max_size=32))
def test_any_text_is_a_request_id_or_none(text: str) -> None:
    assert ids.created_ms(text) is None or len(text) == 30


@given(st.text(alphabet=CROCKFORD, min_size=26, max_size=26))
def test_every_instant_that_an_id_tells_can_be_a_date(body: str) -> None:
    created_ms = ids.created_ms(f"req_{body}")
    assert created_ms is None or 0 <= created_ms < 253_402_300_800_000


def test_an_event_id_is_the_request_and_the_attempt() -> None:
    assert ids.event_id("req_x", 2) == "req_x:2"


def test_a_ulid_is_known_by_its_form() -> None:
    assert ids.is_ulid(ids.ulid())
    for other in ("", "x", ids.request_id(), ids.ulid()[1:], "z" * 26, ids.ulid().upper()):
        assert not ids.is_ulid(other)
