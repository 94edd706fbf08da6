"""Unit tests of services.edge.dialects.sse."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects.sse import Events

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
