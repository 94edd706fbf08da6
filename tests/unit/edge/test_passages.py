"""Unit tests of services.edge.passages and of what is rewritten on the way."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.apis import Api
from services.edge.dialects.asked import Asked
from services.edge.dialects.chat_usage import UsageChunkFilter
from services.edge.head import Headers
from services.edge.passages import Passage
from services.edge.translations import translation
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

BODY = b'{"model":"opus","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}'
ANTHROPIC, OPENAI = router_pb2.UPSTREAM_KIND_ANTHROPIC, router_pb2.UPSTREAM_KIND_OPENAI
OPENROUTER, GEMINI = router_pb2.UPSTREAM_KIND_OPENROUTER, router_pb2.UPSTREAM_KIND_GEMINI_OPENAI


def passage(
    body: bytes,
    model: str = "opus",
    query: str = "",
    onward: Headers | None = None,
    *,
    api: Api = Api.MESSAGES,
    kind: router_pb2.UpstreamKind.ValueType = ANTHROPIC,
    upstream_model: str = "opus",
    asked: Asked | None = None,
    without_thinking: bool = False,
    without_responses: bool = False,
) -> Passage:
    """A request on its way to an upstream account of a kind."""
    picked = router_pb2.PickResult(
        kind=kind, base_url="https://api.example", credential="sk-upstream", upstream_model=upstream_model
    )
    asked = asked or Asked(model, 10)
    return Passage(
        api,
        picked,
        asked,
        body,
        query,
        onward or [],
        translation,
        "req_1",
        0,
        without_thinking=without_thinking,
        without_responses=without_responses,
    )


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
WITH_TOOLS: dict[Api, dict[str, Any]] = {
    Api.MESSAGES: {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "f", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}],
        "max_tokens": 10,
    },
    Api.CHAT: {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": SCHEMA}, "cache_control": {"type": "x"}}
        ],
        "tool_choice": "auto",
    },
    Api.RESPONSES: {
        "input": [{"role": "user", "content": "hi"}],
        "instructions": "be brief",
        "metadata": {"a": "b"},
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
        "tool_choice": {"type": "function", "name": "f"},
    },
}


@pytest.mark.parametrize(
    ("api", "kind"),
    [
        (Api.MESSAGES, ANTHROPIC),
        (Api.MESSAGES, OPENAI),
        (Api.CHAT, ANTHROPIC),
        (Api.RESPONSES, ANTHROPIC),
        (Api.RESPONSES, GEMINI),
    ],
)
def test_a_body_that_is_forgotten_is_not_in_memory_any_more(api: Api, kind: router_pb2.UpstreamKind.ValueType) -> None:
    body = json.dumps({"model": "opus", "stream": True, **WITH_TOOLS[api]}).encode()
    owners = sys.getrefcount(body)
    made = passage(body, api=api, kind=kind, asked=Asked("opus", 10, stream=True))
    sent = made.body
    made.body = b""
    assert sys.getrefcount(sent) == owners + (sent is body)
    del sent
    assert sys.getrefcount(body) == owners, "the passage has a part of it"


def test_the_body_goes_on_unchanged_where_the_upstream_knows_the_model_by_this_name() -> None:
    strange = b' {"max_tokens" : 1e1,\n"model":"opus", "x":"\xff"} '
    assert passage(strange, "opus").body is strange


def test_only_the_models_name_changes_for_an_upstream_that_has_another_one() -> None:
    request = (
        b'{ "system" : "\\u00e4\xc3\xa4\\/ \\ud83d\\ude00 \xe2\x80\xa8",\n\t"model": "alias","max_tokens":10 ,'
        b'"temperature":1.50e+00, "n":123456789012345678901234567890, "messages":[ {"content" : "hi"} ],"x":"\xff" }'
    )
    sent = passage(request, "alias").body
    assert sent == (
        b'{"system":"\\u00e4\xc3\xa4\\/ \\ud83d\\ude00 \xe2\x80\xa8","model":"opus","max_tokens":10,'
        b'"temperature":1.50e+00,"n":123456789012345678901234567890,"messages":[ {"content" : "hi"} ],"x":"\xff"}'
    )


def test_a_name_that_needs_escapes_is_escaped() -> None:
    sent = passage(BODY, "alias", upstream_model='a"b\\c\u2028').body
    assert json.loads(sent)["model"] == 'a"b\\c\u2028'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "model"), JSON, max_size=5), st.booleans())
def test_an_aliased_request_means_the_same_but_for_the_model(fields: dict[str, Any], ascii_only: bool) -> None:
    try:
        request = json.dumps({**fields, "model": "alias"}, ensure_ascii=ascii_only, indent=1).encode()
    except UnicodeEncodeError:
        return
    sent = passage(request, "alias").body
    assert json.loads(sent) == {**fields, "model": "opus"}


def test_a_field_name_that_is_no_text_is_refused_where_it_would_have_to_be_written_anew() -> None:
    with pytest.raises(Refusal) as refused:
        passage(BODY[:-1] + b',"\xff":1}', "alias")
    assert refused.value.kind is Kind.INVALID_REQUEST


def test_an_upstream_gets_its_own_credential_the_clients_headers_and_the_query() -> None:
    sent = passage(BODY, query="beta=true", onward=[(b"anthropic-beta", b"x")])
    assert sent.url == "https://api.example/v1/messages?beta=true"
    assert sent.headers == [
        (b"anthropic-beta", b"x"),
        (b"x-api-key", b"sk-upstream"),
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"anthropic-version", b"2023-06-01"),
    ]


def test_the_clients_version_is_kept() -> None:
    sent = passage(BODY, onward=[(b"anthropic-version", b"2027-01-01")])
    assert sent.url == "https://api.example/v1/messages"
    assert [value for name, value in sent.headers if name == b"anthropic-version"] == [b"2027-01-01"]


@pytest.mark.parametrize(
    ("api", "kind", "path"),
    [
        (Api.MESSAGES, ANTHROPIC, "/v1/messages"),
        (Api.MESSAGES, OPENAI, "/v1/chat/completions"),
        (Api.MESSAGES, OPENROUTER, "/v1/messages"),
        (Api.CHAT, ANTHROPIC, "/v1/messages"),
        (Api.CHAT, OPENAI, "/v1/chat/completions"),
        (Api.CHAT, GEMINI, "/chat/completions"),
        (Api.RESPONSES, OPENAI, "/v1/responses"),
        (Api.RESPONSES, OPENROUTER, "/v1/chat/completions"),
        (Api.RESPONSES, GEMINI, "/chat/completions"),
        (Api.EMBEDDINGS, OPENAI, "/v1/embeddings"),
    ],
)
def test_an_account_is_asked_in_an_api_that_it_speaks(
    api: Api, kind: router_pb2.UpstreamKind.ValueType, path: str
) -> None:
    body = {
        Api.RESPONSES: b'{"model":"opus","input":"hi"}',
        Api.EMBEDDINGS: b'{"model":"opus","input":"hi"}',
    }.get(api, BODY)
    sent = passage(body, api=api, kind=kind)
    assert sent.url == f"https://api.example{path}"
    assert sent.translated == (path.removeprefix("/v1") != api.value.removeprefix("/v1"))
    keyed = dict(sent.headers)
    if kind == ANTHROPIC:
        assert keyed[b"x-api-key"] == b"sk-upstream"
    else:
        assert keyed[b"authorization"] == b"Bearer sk-upstream"


def test_whose_application_asks_is_told_to_openrouter_alone() -> None:
    onward = [(b"http-referer", b"https://a.example"), (b"x-title", b"A"), (b"x-openrouter-title", b"A")]
    told = {name for name, _ in passage(BODY, api=Api.CHAT, kind=OPENROUTER, onward=onward).headers}
    not_told = {name for name, _ in passage(BODY, api=Api.CHAT, kind=OPENAI, onward=onward).headers}
    assert {name for name, _ in onward} <= told
    assert not {name for name, _ in onward} & not_told


def test_headers_of_anthropic_stay_behind_where_the_upstream_speaks_something_else() -> None:
    onward = [(b"anthropic-beta", b"x"), (b"anthropic-version", b"2023-06-01"), (b"user-agent", b"a")]
    names = {name for name, _ in passage(BODY, kind=OPENAI, onward=onward).headers}
    assert not any(name.startswith(b"anthropic-") for name in names)
    assert b"user-agent" in names


def test_a_streamed_chat_is_asked_for_its_usage_and_the_client_does_not_see_it_unless_it_asked() -> None:
    body = b'{"model":"opus","stream":true,"messages":[{"role":"user","content":"hi"}],"stream_options":{"x":1}}'
    asked = Asked("opus", 10, stream=True, wants_usage=False)
    sent = passage(body, api=Api.CHAT, kind=OPENAI, asked=asked)
    assert json.loads(sent.body)["stream_options"] == {"x": 1, "include_usage": True}
    chunk = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    assert sent.feed(chunk + usage + b"data: [DONE]\n\n") + sent.end() == chunk + b"data: [DONE]\n\n"
    wanted = passage(body, api=Api.CHAT, kind=OPENAI, asked=Asked("opus", 10, stream=True, wants_usage=True))
    assert wanted.body is body
    assert wanted.feed(usage) == usage


def test_a_bound_is_put_in_where_there_is_none() -> None:
    sent = passage(b'{"model":"opus","messages":[]}', api=Api.CHAT, kind=OPENAI, asked=Asked("opus", 99, filled=99))
    assert json.loads(sent.body)["max_completion_tokens"] == 99


@given(st.integers(1, 40), st.booleans())
def test_however_a_stream_is_cut_only_the_usage_chunk_is_taken_out(step: int, crlf: bool) -> None:
    events = [
        b'data: {"choices":[{"delta":{"role":"assistant"}}],"usage":null}',
        b'data: {"choices":[{"delta":{"content":"say \\"choices\\":[] \\n\\n"}}]}',
        b": comment",
        b'data: {"choices": [ ], "usage": {"prompt_tokens": 1}}',
        b"data: [DONE]",
    ]
    end = b"\r\n\r\n" if crlf else b"\n\n"
    stream, kept = end.join(events) + end, end.join(events[:3] + events[4:]) + end
    taking = UsageChunkFilter()
    seen = b"".join(taking.feed(stream[at : at + step]) for at in range(0, len(stream), step)) + taking.end()
    assert seen == kept


@pytest.mark.parametrize(
    ("api", "kind", "url"),
    [
        (Api.RESPONSES, OPENAI, "/v1/chat/completions"),
        (Api.RESPONSES, ANTHROPIC, "/v1/messages"),
        (Api.CHAT, OPENAI, "/v1/chat/completions"),
        (Api.EMBEDDINGS, OPENAI, "/v1/embeddings"),
        (Api.MESSAGES, router_pb2.UPSTREAM_KIND_SIMULATOR, "/v1/messages"),
    ],
)
def test_what_has_no_responses_api_is_asked_otherwise_for_responses_only(
    api: Api, kind: router_pb2.UpstreamKind.ValueType, url: str
) -> None:
    body = {Api.RESPONSES: b'{"model":"opus","input":"hi"}', Api.EMBEDDINGS: b'{"model":"opus","input":"hi"}'}.get(
        api, b'{"model":"opus","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}'
    )
    assert passage(body, api=api, kind=kind, without_responses=True).url == "https://api.example" + url
