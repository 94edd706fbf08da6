"""The official SDKs pointed right at the simulator: every API, plain and streamed, and tools over two turns."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message, MessageTokensCount, ModelInfo
from openai import AsyncOpenAI
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from services.simulator.app import listen
from services.simulator.settings import SimulatorSettings
from tests.unit.simulator.client import CREDENTIAL, Client
from tests.unit.simulator.requests import unknown_fields

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}
PROMPT = "Weather? [[sim tool=2; tokens=3]]"
ANTHROPIC_TOOLS: Any = [{"name": "look", "input_schema": TOOL}]
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": TOOL}}]
RESPONSES_TOOLS: Any = [
    {"type": "function", "name": "look", "parameters": TOOL, "strict": False},
    {"type": "custom", "name": "patch"},
]


class Sdks(NamedTuple):
    """Both SDKs, and plain HTTP."""

    anthropic: AsyncAnthropic
    openai: AsyncOpenAI
    client: Client

    def at(self, base: str) -> AsyncOpenAI:
        """OpenAI's SDK at another base."""
        return self.openai.with_options(base_url=f"http://127.0.0.1:{self.client.port}{base}")


@pytest.fixture
async def sdks() -> AsyncIterator[Sdks]:
    server = await listen(SimulatorSettings(port=0, first_ms=0, gap_ms=0))
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with (
        aiohttp.ClientSession(url) as session,
        AsyncAnthropic(api_key=CREDENTIAL, base_url=url, max_retries=0) as one,
        AsyncOpenAI(api_key=CREDENTIAL, base_url=f"{url}/v1", max_retries=0) as other,
    ):
        yield Sdks(one, other, Client(session, port))
    server.close()


async def message(sdks: Sdks, stream: bool, messages: Any) -> Message:
    ask: Any = {"model": "m", "max_tokens": 900, "messages": messages, "tools": ANTHROPIC_TOOLS}
    if stream:
        async with sdks.anthropic.messages.stream(**ask) as events:
            return await events.get_final_message()
    raw = await sdks.anthropic.messages.with_raw_response.create(**ask)
    return Message.model_validate_json(await raw.read(), strict=True)


async def completion(sdks: Sdks, stream: bool, messages: Any) -> ChatCompletion:
    ask: Any = {"model": "m", "messages": messages, "tools": CHAT_TOOLS}
    if stream:
        async with sdks.openai.chat.completions.stream(**ask) as events:
            return await events.get_final_completion()
    raw = await sdks.openai.chat.completions.with_raw_response.create(**ask)
    return ChatCompletion.model_validate_json(raw.content, strict=True)


async def response(sdks: Sdks, stream: bool, input_: Any, **fields: Any) -> Response:
    ask: Any = {"model": "m", "input": input_, "tools": RESPONSES_TOOLS} | fields
    if stream:
        async with sdks.openai.responses.stream(**ask) as events:
            return await events.get_final_response()
    raw = await sdks.openai.responses.with_raw_response.create(**ask)
    return Response.model_validate_json(raw.content, strict=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_over_two_turns_of_messages(sdks: Sdks, stream: bool) -> None:
    turns: Any = [{"role": "user", "content": PROMPT}]
    first = await message(sdks, stream, turns)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.input["number"] for call in calls] == [0, 1]
    assert first.stop_reason == "tool_use"
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"is {call.id}"} for call in calls]
    said = [block.model_dump(include={"type", "text", "id", "name", "input"}) for block in first.content]
    turns += [{"role": "assistant", "content": said}, {"role": "user", "content": results}]
    last = (await message(sdks, stream, turns)).content
    assert [block.text for block in last if block.type == "text"] == [
        "; ".join(f"{call.id}: is {call.id}" for call in calls)
    ]
    assert len(last) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_over_two_turns_of_chat_completions(sdks: Sdks, stream: bool) -> None:
    turns: Any = [{"role": "user", "content": PROMPT}]
    first = (await completion(sdks, stream, turns)).choices[0]
    calls = [call for call in first.message.tool_calls or () if call.type == "function"]
    assert [json.loads(call.function.arguments)["number"] for call in calls] == [0, 1]
    assert first.finish_reason == "tool_calls"
    told = [call.model_dump(include={"id": True, "type": True, "function": {"name", "arguments"}}) for call in calls]
    turns.append({"role": "assistant", "content": first.message.content, "tool_calls": told})
    turns += [{"role": "tool", "tool_call_id": call.id, "content": f"is {call.id}"} for call in calls]
    last = (await completion(sdks, stream, turns)).choices[0].message
    assert last.content == "; ".join(f"{call.id}: is {call.id}" for call in calls)
    assert not last.tool_calls


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kept", [False, True])
async def test_tools_over_two_turns_of_responses(sdks: Sdks, stream: bool, kept: bool) -> None:
    asked: Any = [{"role": "user", "content": PROMPT}]
    first = await response(sdks, stream, asked)
    calls = [item for item in first.output if item.type in ("function_call", "custom_tool_call")]
    assert [call.type for call in calls] == ["function_call", "custom_tool_call"]
    outputs: Any = [
        {"type": f"{call.type}_output", "call_id": call.call_id, "output": f"is {call.call_id}"} for call in calls
    ]
    if kept:
        last = await response(sdks, stream, outputs, previous_response_id=first.id)
    else:
        items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in calls]
        last = await response(sdks, stream, [*asked, *items, *outputs])
    assert last.output_text == "; ".join(f"{one['call_id']}: is {one['call_id']}" for one in outputs)
    assert [item.type for item in last.output] == ["message"]


async def test_an_earlier_response_is_known_to_its_own_credential_while_it_is_kept(sdks: Sdks) -> None:
    kept = await response(sdks, False, "hi")
    unkept = await response(sdks, False, "hi", store=False)
    other = Sdks(sdks.anthropic, sdks.openai.with_options(api_key="sim-other"), sdks.client)
    assert (await response(sdks, False, "on", previous_response_id=kept.id)).previous_response_id == kept.id
    for asking, id_ in ((sdks, unkept.id), (other, kept.id)):
        with pytest.raises(openai.BadRequestError) as refused:
            await response(asking, False, "on", previous_response_id=id_)
        assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_what_was_understood_is_echoed_alike_by_every_api(sdks: Sdks) -> None:
    turns: Any = [{"role": "user", "content": "[[sim echo=1]] naïve 東京"}]
    said = (await message(sdks, True, turns)).content[0]
    assert said.type == "text"
    chat = (await completion(sdks, True, turns)).choices[0].message.content or ""
    echoed = [json.loads(text) for text in (said.text, chat, (await response(sdks, True, turns)).output_text)]
    assert [one["turns"] for one in echoed] == [[{"role": "user", "texts": ["[[sim echo=1]] naïve 東京"]}]] * 3
    assert [one["tools"] for one in echoed] == [["look"], ["look"], ["look", "patch"]]


async def test_embeddings_are_the_same_as_numbers_and_as_base64(sdks: Sdks) -> None:
    ask: Any = {"model": "e", "input": ["one", "two"], "dimensions": 8}
    packed = await sdks.openai.embeddings.create(**ask)  # the SDK asks for base64, and decodes it
    raw = await sdks.openai.embeddings.with_raw_response.create(**ask, encoding_format="float")
    plain = CreateEmbeddingResponse.model_validate_json(raw.content, strict=True)
    assert unknown_fields(plain) == []
    for one, other in zip(plain.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert sum(number**2 for number in one.embedding) == pytest.approx(1)
    assert plain.data[0].embedding != plain.data[1].embedding
    tokens = await sdks.openai.embeddings.create(model="e", input=[[1, 2], [3]])
    assert [len(one.embedding) for one in tokens.data] == [1536, 1536]
    assert (await sdks.client.last())["tokens"]["input"] == tokens.usage.prompt_tokens > 0


@pytest.mark.parametrize("fields", [{"input": ""}, {"input": []}, {"input": [""]}, {"input": "x", "dimensions": 0}])
async def test_embeddings_of_nothing_are_refused(sdks: Sdks, fields: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await sdks.openai.embeddings.create(model="e", **fields)
    assert refused.value.param in fields


async def test_models_are_listed_in_the_shape_of_the_sdk_that_asks(sdks: Sdks) -> None:
    ours = [one.id async for one in sdks.anthropic.models.list()]
    theirs = [one.id async for one in sdks.openai.models.list()]
    assert ours == theirs
    one = await sdks.anthropic.models.with_raw_response.retrieve(ours[0])
    assert unknown_fields(ModelInfo.model_validate_json(await one.read())) == []
    other = await sdks.openai.models.with_raw_response.retrieve(ours[0])
    assert unknown_fields(Model.model_validate_json(other.content, strict=True)) == []
    with pytest.raises(anthropic.NotFoundError):
        await sdks.anthropic.models.retrieve("none")
    with pytest.raises(openai.NotFoundError):
        await sdks.openai.models.retrieve("none")
    with pytest.raises(openai.AuthenticationError):
        await sdks.openai.with_options(api_key="sim-bad").models.list()


async def test_tokens_are_counted_and_nothing_is_used(sdks: Sdks) -> None:
    ask: Any = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}]}
    raw = await sdks.anthropic.messages.with_raw_response.count_tokens(**ask)
    counted = MessageTokensCount.model_validate_json(await raw.read(), strict=True)
    assert (counted.input_tokens, unknown_fields(counted)) == (10, [])
    assert set((await sdks.client.served())["tokens"].values()) == {0}


@pytest.mark.parametrize("base", ["/v1", "/api/v1", "/v1beta/openai"])
async def test_openais_apis_are_at_every_base(sdks: Sdks, base: str) -> None:
    sdk = sdks.at(base)
    turns: Any = [{"role": "user", "content": "hi"}]
    async with sdk.chat.completions.stream(model="m", messages=turns) as events:
        assert (await events.get_final_completion()).choices[0].message.content
    assert (await sdk.responses.create(model="m", input="hi")).output_text
    assert (await sdk.embeddings.create(model="e", input="hi")).data
    assert [one.id async for one in sdk.models.list()]


async def test_imitators_keep_connections_alive_with_comments_and_take_their_own_fields(sdks: Sdks) -> None:
    ask = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}], "provider": {"order": ["a"]}}
    headers = {"authorization": f"Bearer {CREDENTIAL}"}
    async with sdks.client.session.post("/api/v1/chat/completions", json=ask, headers=headers) as answer:
        assert (await answer.read()).startswith(b": OPENROUTER PROCESSING\n\ndata: ")
    async with sdks.client.session.post("/v1/chat/completions", json=ask, headers=headers) as answer:
        assert (await answer.json())["error"]["param"] == "provider"


@pytest.mark.parametrize(
    "name", ["claude-code-2.1.329", "claude-code-2.1.197", "claude-agent-sdk-0.2.186", "codex-0.169"]
)
async def test_what_todays_agents_send_is_taken(sdks: Sdks, name: str) -> None:
    (sent,) = json.loads((CAPTURES / f"{name}.json").read_text())["requests"]
    headers = sent["headers"] | {"authorization": f"Bearer {CREDENTIAL}"}
    async with sdks.client.session.post(sent["path"], json=sent["body"], headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert b"tok0000" in await answer.read()
