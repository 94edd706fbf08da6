"""One request said in each API, through every kind of upstream account: the upstream understands the same, and what it
cannot be told is refused by the name of the client's field. The simulator says what it understood."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import Answer, Deployment, Tenant
from tests.upstreams import KINDS, delete_upstream, put_upstream

IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
IMAGE_URL = "https://pictures.example/cat.png"
PDF = base64.b64encode(b"%PDF-1.4").decode()
ANSWER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "object", "properties": {"at": {"type": "string"}}}
TOLD_IN_THE_USERS_TURN = (
    ("/v1/chat/completions", "anthropic"),
    ("/v1/responses", "anthropic"),
)
"""Where system messages in mid-conversation are translated for the Messages API."""
BETA = {"anthropic-beta": "mid-conversation-system-2026-04-07"}

MESSAGES = {
    "max_tokens": 3000,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop_sequences": ["END"],
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "naïve 東京 \u2028"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}},
                {"type": "image", "source": {"type": "url", "url": IMAGE_URL}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
            ],
        },
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And where?"},
    ],
    "tools": [{"name": "look", "input_schema": TOOL}, {"name": "note", "input_schema": TOOL}],
    "tool_choice": {"type": "tool", "name": "note", "disable_parallel_tool_use": True},
    "output_config": {"format": {"type": "json_schema", "schema": ANSWER}},
}
CHAT = {
    "max_completion_tokens": 3000,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": "END",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "naïve 東京 \u2028"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
                {"type": "image_url", "image_url": {"url": IMAGE_URL}},
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                },
            ],
        },
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And where?"},
    ],
    "tools": [{"type": "function", "function": {"name": name, "parameters": TOOL}} for name in ("look", "note")],
    "tool_choice": {"type": "function", "function": {"name": "note"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": ANSWER}},
}
RESPONSES = {
    "max_output_tokens": 3000,
    "temperature": 0.5,
    "top_p": 0.9,
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "naïve 東京 \u2028"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}", "detail": "auto"},
                {"type": "input_image", "image_url": IMAGE_URL, "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            ],
        },
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And where?"},
    ],
    "tools": [{"type": "function", "name": name, "parameters": TOOL, "strict": False} for name in ("look", "note")],
    "tool_choice": {"type": "function", "name": "note"},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "a", "strict": True, "schema": ANSWER}},
}
WHOLE: dict[str, dict[str, Any]] = {
    "/v1/messages": MESSAGES,
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
}


@pytest.fixture(scope="module")
def accounts(tollhouse: Deployment) -> Iterator[None]:
    """An upstream account of each kind, which serves the model `meant-KIND`."""
    for kind in KINDS:
        put_upstream(tollhouse, f"meant-{kind}", kind, {f"meant-{kind}": "claude-sonnet-4-6"})
    yield
    for kind in KINDS:
        delete_upstream(tollhouse, f"meant-{kind}")


@pytest.fixture(scope="module")
def tenant(tollhouse: Deployment, accounts: None) -> Tenant:
    return tollhouse.tenant(dollars=100)


def ask(tollhouse: Deployment, tenant: Tenant, path: str, kind: str, fields: dict[str, Any], **headers: str) -> Answer:
    body = json.dumps({"model": f"meant-{kind}", **fields}).encode()
    sent = {"authorization": f"Bearer {tenant.key}", "x-simulator": "echo=1", **headers}
    return tollhouse.call("POST", path, sent, body)


def understood(answer: Answer) -> dict[str, Any]:
    """What the upstream understood, whichever API the answer is in."""
    assert answer.status == 200, answer.body
    said = answer.json()
    if "choices" in said:
        text = said["choices"][0]["message"]["content"]
    elif "content" in said:
        text = said["content"][0]["text"]
    else:
        text = said["output"][0]["content"][0]["text"]
    return dict(json.loads(text))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", WHOLE)
def test_what_both_apis_can_say_means_the_same_upstream(
    tollhouse: Deployment, tenant: Tenant, path: str, kind: str
) -> None:
    seen = understood(ask(tollhouse, tenant, path, kind, WHOLE[path]))
    assert seen["turns"] == [
        {"role": seen["turns"][0]["role"], "texts": ["Be brief."]},
        {
            "role": "user",
            "texts": ["naïve 東京 \u2028"],
            "images": ["image/png", "url"],
            "files": ["application/pdf"],
        },
        {"role": "assistant", "texts": ["A cat."]},
        {"role": "user", "texts": ["And where?"]},
    ]
    assert seen["turns"][0]["role"] in ("system", "developer")
    assert (seen["tools"], seen["tool_choice"]) == (["look", "note"], "note")
    assert (seen["max_tokens"], seen["temperature"], seen["schema"]) == (3000, 0.5, ANSWER)
    assert seen.get("stop", ["END"]) == ["END"]
    assert ("stop" in seen) == (path != "/v1/responses")  # which has no such field


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", WHOLE)
def test_a_system_message_in_mid_conversation_is_told_where_it_stands(
    tollhouse: Deployment, tenant: Tenant, path: str, kind: str
) -> None:
    turns = [
        {"role": "user", "content": "One."},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three."},
        {"role": "system", "content": "Be brief."},
    ]
    fields: dict[str, Any] = {"input": turns} if path == "/v1/responses" else {"messages": turns}
    if path == "/v1/messages":
        fields["max_tokens"] = 3000
    seen = understood(ask(tollhouse, tenant, path, kind, fields, **BETA))["turns"]
    texts = [text for turn in seen for text in turn["texts"]]
    assert texts[:3] == ["One.", "Two.", "Three."]
    in_turn = (path, kind) in TOLD_IN_THE_USERS_TURN
    assert texts[3:] == ["<system>\nBe brief.\n</system>" if in_turn else "Be brief."]
    assert seen[-1]["role"] == ("user" if in_turn else "system")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", ["\n", [" ", "END"]])
def test_a_stop_sequence_of_white_space_works_or_is_refused_by_its_name(
    tollhouse: Deployment, tenant: Tenant, kind: str, stop: Any
) -> None:
    fields = {"messages": [{"role": "user", "content": "hi"}], "stop": stop}
    answer = ask(tollhouse, tenant, "/v1/chat/completions", kind, fields)
    if kind == "anthropic":
        error = answer.json()["error"]
        assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", "stop")
        assert error["message"].startswith("stop: ")
    else:
        assert understood(answer)["stop"] == ([stop] if isinstance(stop, str) else stop)
