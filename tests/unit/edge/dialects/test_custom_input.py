"""Unit tests of services.edge.dialects.custom_input."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects.custom_input import CustomInput


@given(st.text(), st.booleans(), st.lists(st.integers(0, 200), max_size=8))
def test_the_text_is_the_same_whatever_the_pieces(text: str, ascii_only: bool, cuts: list[int]) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only)
    bounds = [0, *sorted(cuts), len(arguments)]
    reading = CustomInput()
    told = [reading.feed(arguments[start:end]) for start, end in itertools.pairwise(bounds)]
    told.append(reading.end())
    assert "".join(told) == reading.text == text


def test_text_is_told_as_soon_as_it_is_known() -> None:
    reading = CustomInput()
    assert [reading.feed(piece) for piece in ('{"in', 'put": "a\\', "nb\\u00", 'e9c"', "}")] == [
        "",
        "a",
        "\nb",
        "éc",
        "",
    ]


@pytest.mark.parametrize("arguments", ["", "plain", '{"other": "x"}', '["x"]', '{"input": 5}'])
def test_arguments_of_another_shape_are_the_text(arguments: str) -> None:
    reading = CustomInput()
    assert reading.feed(arguments) + reading.end() == arguments


@pytest.mark.parametrize(("arguments", "text"), [('{"input": "ab', "ab"), ('{"input": "a\\u00', "a\\u00")])
def test_text_that_is_cut_off_is_told_as_far_as_it_goes(arguments: str, text: str) -> None:
    reading = CustomInput()
    assert reading.feed(arguments) + reading.end() == text


@pytest.mark.parametrize("begin", ["", '{"x": "', '{"input": "a\\x'])
def test_whatever_is_written_piece_by_piece_is_read_in_time(begin: str) -> None:
    reading = CustomInput()
    told = [reading.feed(piece) for piece in [begin, *["    "] * 100_000]]
    told.append(reading.end())
    assert len("".join(told)) >= 400_000


@given(st.text(min_size=1_100, max_size=1_300), st.integers(1, 50))
def test_arguments_of_another_shape_are_the_text_however_long_they_are(arguments: str, step: int) -> None:
    reading = CustomInput()
    told = [reading.feed(arguments[at : at + step]) for at in range(0, len(arguments), step)]
    told.append(reading.end())
    assert "".join(told) == reading.text == arguments
