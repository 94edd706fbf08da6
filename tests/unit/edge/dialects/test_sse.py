"""Unit tests of services.edge.dialects.sse."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects.sse import EVENT_MAX_BYTES, Events, EventTooLarge

STREAM = (
    b': a comment\n\nevent: one\ndata: {"a":\ndata:1}\n\nid: 3\r\ndata: \xe2\x80\xa8\r\n\r\n'
    b"event: nothing\n\ndata: last\n\ndata: cut"
)
EVENTS = [("one", b'{"a":\n1}'), ("", b"\xe2\x80\xa8"), ("", b"last")]


def test_events_end_with_a_blank_line_and_may_have_several_lines_of_data() -> None:
    assert Events().feed(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_gives_the_same_events(cuts: list[int]) -> None:
    framed = Events()
    bounds = [0, *sorted(cuts), len(STREAM)]
    found = [event for start, end in itertools.pairwise(bounds) for event in framed.feed(STREAM[start:end])]
    assert found == EVENTS


@pytest.mark.parametrize("piece", [b"x" * 100_000, b"data: " + b"x" * 100_000 + b"\n", b": x\ndata: " + b"x" * 100_000])
def test_an_event_without_end_is_not_gathered_without_a_limit(piece: bytes) -> None:
    events, pieces = Events(), itertools.repeat(piece, EVENT_MAX_BYTES // 100_000 + 1)
    with pytest.raises(EventTooLarge):
        list(map(events.feed, pieces))


def test_events_that_end_may_be_as_many_as_come() -> None:
    events = Events()
    piece = b"data: " + b"x" * 1_000_000 + b"\n\n"
    assert sum(len(events.feed(piece)) for _ in range(40)) == 40
