"""Unit tests of services.edge.dialects.openai_requests."""

import json
from typing import Any

import pytest

from services.edge.dialects.asked import TOKENS_MAX, Asked, Defaults
from services.edge.dialects.openai_requests import read_chat
from services.shared.errors import Kind, Refusal

DEFAULTS = Defaults(max_tokens=0, output_tokens=16_384, thinking_tokens=8192)


def read(**fields: Any) -> Asked:
    whole = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}], **fields}
    return read_chat(json.dumps(whole).encode(), DEFAULTS)


@pytest.mark.parametrize("stream", [False, True])
def test_every_choice_may_be_as_long_as_the_bound_says(stream: bool) -> None:
    assert read(max_tokens=100, n=3, stream=stream).max_tokens == 300
    assert read(max_tokens=100, n=None, stream=stream).max_tokens == 100
    assert read(max_tokens=TOKENS_MAX, n=128, stream=stream).max_tokens == TOKENS_MAX
    assert read(max_tokens=100, n=3, stream=stream, reasoning_effort="high").unseen == 300


def test_the_bound_that_is_filled_in_is_that_of_one_choice() -> None:
    asked = read(n=3)
    assert (asked.filled, asked.max_tokens) == (DEFAULTS.output_tokens, 3 * DEFAULTS.output_tokens)


@pytest.mark.parametrize("choices", [-1, 0, 129])
def test_a_number_of_choices_that_the_api_does_not_take_is_refused(choices: int) -> None:
    with pytest.raises(Refusal) as refused:
        read(n=choices)
    assert refused.value.kind is Kind.INVALID_REQUEST
    assert refused.value.details["param"] == "n"
