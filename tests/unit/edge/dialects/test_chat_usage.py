"""Unit tests of services.edge.dialects.chat_usage."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects.chat_usage import UsageChunkFilter

LONG = b'data: {"choices": [{"delta": {"content": "' + b"x" * 70_000 + b'"}}]}'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 1}}'
SHORT = b'data: {"choices": [{"delta": {"content": "a"}}]}'


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@given(cuts=st.lists(st.integers(0, 141_000), max_size=12))
def test_events_too_long_to_tell_usage_pass_and_usage_after_them_does_not(line_end: bytes, cuts: list[int]) -> None:
    blank = line_end * 2
    stream = LONG + blank + USAGE + blank + LONG + blank + SHORT + blank + USAGE + blank
    filtering = UsageChunkFilter()
    bounds = [0, *sorted(cuts), len(stream)]
    said = [filtering.feed(stream[start:end]) for start, end in itertools.pairwise(bounds)]
    assert b"".join(said) + filtering.end() == LONG + blank + LONG + blank + SHORT + blank


def test_a_long_event_goes_on_while_it_comes() -> None:
    filtering = UsageChunkFilter()
    assert sum(len(filtering.feed(b"x" * 1_000)) for _ in range(1_000)) > 900_000
