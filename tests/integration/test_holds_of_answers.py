"""What is held for an OpenAI request covers all that it may produce, whichever field says so."""

import json
from typing import Any

import pytest

from tests.deployment import Deployment

CHAT = {"model": "claude-sonnet-4-6", "messages": [{"role": "user", "content": "hi"}]}
CENT = 0.01
"""Pays for some 660 tokens of output."""


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"max_tokens": 300}, 200),
        ({"max_tokens": 300, "n": 5}, 402),
        ({"max_completion_tokens": 1, "max_tokens": 3_000}, 402),
        ({"max_tokens": 1, "MAX_TOKENS": 3_000}, 400),
    ],
)
def test_a_cent_pays_for_no_more_than_it_covers(tollhouse: Deployment, fields: dict[str, Any], status: int) -> None:
    key = tollhouse.tenant(dollars=CENT).key
    answer = tollhouse.call(
        "POST", "/v1/chat/completions", {"authorization": f"Bearer {key}"}, json.dumps(CHAT | fields).encode()
    )
    assert answer.status == status, answer.body
