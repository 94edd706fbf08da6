"""Unit tests of services.edge.conversation."""

import json
from typing import Any

import pytest

from services.edge.conversation import conversation
from services.edge.dialects.anthropic_requests import read_messages
from services.edge.dialects.asked import Defaults

CACHED = {"type": "ephemeral"}


def of(messages: list[Any], tenant: str = "acme", **fields: Any) -> bytes:
    body = json.dumps({"model": "opus", "max_tokens": 10, "messages": messages} | fields).encode()
    request = read_messages(body, Defaults(0, 1, 1))
    return conversation(tenant, request.session, *request.beginning)


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} | fields]}


def test_turns_of_one_conversation_have_one_name() -> None:
    first = [said("Fix the bug", cache_control=CACHED)]
    later = [said("Fix the bug"), {"role": "assistant", "content": "How?"}, said("Well", cache_control=CACHED)]
    assert of(first, system="You code.") == of(later, system="You code.")
    assert len(of(first)) == 8


def test_another_tenant_system_or_first_message_is_another_conversation() -> None:
    names = {
        of([said("a")]),
        of([said("b")]),
        of([said("a")], tenant="other"),
        of([said("a")], system="x"),
        of([said("a" * 5000 + "1" + "b" * 500)]),
        of([said("a" * 5000 + "2" + "b" * 500)]),
    }
    assert len(names) == 6


def test_a_coding_agents_session_is_the_conversation_whatever_is_said_in_it() -> None:
    user = json.dumps({"device_id": "d", "session_id": "s1"})
    other = json.dumps({"device_id": "d", "session_id": "s2"})
    assert of([said("a")], metadata={"user_id": user}) == of([said("b")], metadata={"user_id": user})
    assert of([said("a")], metadata={"user_id": user}) != of([said("a")], metadata={"user_id": other})


def test_a_user_id_without_a_session_is_not_the_conversation() -> None:
    assert of([said("a")], metadata={"user_id": "app"}) != of([said("b")], metadata={"user_id": "app"})


def test_metadata_of_any_shape_does_no_harm() -> None:
    for metadata in ("session", ["session"], {"user_id": {"session": 1}}, {"session": 1}, None):
        assert len(of([said("a")], metadata=metadata)) == 8


@pytest.mark.parametrize("before", [0, 262_000, 262_100, 262_144, 400_000])
def test_a_long_message_is_the_same_with_and_without_a_mark_wherever_it_is(before: int) -> None:
    text, marked = {"type": "text", "text": "a" * before}, {"type": "text", "text": "b" * 300_000}
    plain = [{"role": "user", "content": [text, marked]}]
    assert of(plain) == of([{"role": "user", "content": [text, marked | {"cache_control": CACHED}]}])
    assert of(plain) == of([{"role": "user", "content": [text | {"cache_control": CACHED}, marked]}])
