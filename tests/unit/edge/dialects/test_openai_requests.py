"""Unit tests of services.edge.dialects.openai_requests."""

import json
from typing import Any

import pytest

from services.edge.dialects.asked import TOKENS_MAX, Asked, Defaults
from services.edge.dialects.openai_requests import read_chat, read_responses
from services.shared.errors import Refusal

DEFAULTS = Defaults(max_tokens=0, output_tokens=16_384, thinking_tokens=8_192)


def chat(**fields: Any) -> Asked:
    request = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}], **fields}
    return read_chat(json.dumps(request).encode(), DEFAULTS)


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"max_tokens": 100, "n": 8}, 800),
        ({"max_tokens": 100, "n": None}, 100),
        ({"n": 2}, 32_768),
        ({"max_tokens": TOKENS_MAX, "n": 128}, TOKENS_MAX),
    ],
)
def test_each_of_several_answers_may_take_all_that_the_bound_says(fields: dict[str, Any], most: int) -> None:
    asked = chat(**fields)
    assert asked.most_tokens == most
    assert asked.filled in (0, 16_384)  # the bound that is put in is that of one answer


@pytest.mark.parametrize("n", [0, -1, 129, 1 << 62])
def test_no_more_answers_are_asked_for_than_the_api_gives(n: int) -> None:
    with pytest.raises(Refusal, match="n: must be from 1 to 128"):
        chat(n=n)


@pytest.mark.parametrize(("new", "old"), [(1, 5_000), (5_000, 1)])
def test_of_two_bounds_the_larger_one_counts(new: int, old: int) -> None:
    assert chat(max_completion_tokens=new, max_tokens=old).max_tokens == 5_000


@pytest.mark.parametrize("field", ["max_completion_tokens", "max_tokens"])
def test_each_of_two_bounds_is_checked(field: str) -> None:
    fields = {"max_completion_tokens": 5, "max_tokens": 5, field: 0}
    with pytest.raises(Refusal, match=f"{field}: must be at least 1"):
        chat(**fields)


@pytest.mark.parametrize("name", ["MODEL", "Max_Tokens", "\u017ftream", "max_to\u212aens", "N"])
def test_a_field_that_some_upstreams_take_for_another_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="is no field"):
        chat(**{name: 1})


def test_fields_that_are_not_read_may_have_any_name() -> None:
    assert chat(Unknown=1, MESSAGE="x", metadata={"MODEL": "x"}).model == "gpt"


def test_work_in_the_background_is_refused_because_nobody_would_say_what_it_used() -> None:
    with pytest.raises(Refusal, match="background: cannot be asked for"):
        read_responses(b'{"model": "gpt", "input": "hi", "background": true}', DEFAULTS)
    assert read_responses(b'{"model": "gpt", "input": "hi", "background": false}', DEFAULTS).model == "gpt"
