"""Clients that use tools, one for each API, by the official SDKs: a question, the calls, their results, the answer."""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec
from anthropic.types import Message
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tests.sdks import anthropic_sdk, openai_sdk

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = ("look", "note")


class Call(NamedTuple):
    """A call of a tool; the arguments are the bytes that came, as text."""

    id: str
    name: str
    arguments: str


class Result(NamedTuple):
    """What a tool answered."""

    call_id: str
    text: str
    failed: bool = False


class Used(NamedTuple):
    """Tokens by class; what came from or went into a cache is not part of `input`."""

    input: int
    output: int
    cache_read: int
    cache_write: int


@dataclass(frozen=True)
class Said:
    """One answer. `stop` is the API's own word for why it ended."""

    request_id: str
    text: str
    calls: list[Call]
    stop: str | None
    used: Used
    turn: list[Any]
    """The answer as the next request repeats it."""


class ToolClient(Protocol):
    """One conversation in one API."""

    stops: tuple[str, str, str]
    """The words for an answer that calls tools, that is whole, that met its limit."""
    tells_failures: bool
    """Whether a failed result is one by a field, not by its words."""

    def ask(self, model: str, question: str) -> None:
        """Begins the conversation."""

    def send(self, *, script: str, stream: bool, limit: int = 6000, think: bool = False) -> Said:
        """Sends the conversation as it stands; `think` asks for thoughts, and for what they come back with."""

    def go_on(self, said: Said, results: list[Result]) -> None:
        """Adds an answer and the results of its calls."""


_SENT_BACK = {"type", "text", "id", "name", "input", "thinking", "signature"}


class MessagesClient:
    """Anthropic's Messages."""

    stops = ("tool_use", "end_turn", "max_tokens")
    tells_failures = True

    def __init__(self, base_url: str, key: str) -> None:
        self._sdk = anthropic_sdk(base_url, key)

    def ask(self, model: str, question: str) -> None:
        """See ToolClient."""
        self._model, self._turns = model, list[Any]([{"role": "user", "content": question}])

    def send(self, *, script: str, stream: bool, limit: int = 6000, think: bool = False) -> Said:
        """See ToolClient."""
        tools: Any = [{"name": name, "input_schema": SCHEMA} for name in TOOLS]
        ask: Any = {"model": self._model, "max_tokens": limit, "messages": self._turns, "tools": tools}
        if think:
            ask["thinking"] = {"type": "adaptive"}
        headers = {"x-simulator": script}
        if stream:
            with self._sdk.messages.stream(**ask, extra_headers=headers) as events:
                pieces: dict[int, str] = {}
                for event in events:
                    if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                        pieces[event.index] = pieces.get(event.index, "") + event.delta.partial_json
                message, arguments = events.get_final_message(), list(pieces.values())
                return self._said(message, arguments, events.response.headers)
        raw = self._sdk.messages.with_raw_response.create(**ask, extra_headers=headers)
        body = raw.read()
        blocks = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["content"]
        inputs = [block.get("input") for block in msgspec.json.decode(blocks, type=list[dict[str, msgspec.Raw]])]
        arguments = [bytes(given).decode() for given in inputs if given is not None]
        return self._said(Message.model_validate_json(body, strict=True), arguments, raw.headers)

    def go_on(self, said: Said, results: list[Result]) -> None:
        """See ToolClient."""
        told = [
            {"type": "tool_result", "tool_use_id": one.call_id, "content": one.text, "is_error": one.failed}
            for one in results
        ]
        self._turns += [{"role": "assistant", "content": said.turn}, {"role": "user", "content": told}]

    def _said(self, message: Message, arguments: list[str], headers: Any) -> Said:
        calls = [block for block in message.content if block.type == "tool_use"]
        usage = message.usage
        return Said(
            headers["x-request-id"],
            "".join(block.text for block in message.content if block.type == "text"),
            [Call(call.id, call.name, given) for call, given in zip(calls, arguments, strict=True)],
            message.stop_reason,
            Used(
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_input_tokens or 0,
                usage.cache_creation_input_tokens or 0,
            ),
            [block.model_dump(include=_SENT_BACK) for block in message.content],
        )


class ChatClient:
    """OpenAI's Chat Completions."""

    stops = ("tool_calls", "stop", "length")
    tells_failures = False

    def __init__(self, base_url: str, key: str) -> None:
        self._sdk = openai_sdk(f"{base_url}/v1", key)

    def ask(self, model: str, question: str) -> None:
        """See ToolClient."""
        self._model, self._turns = model, list[Any]([{"role": "user", "content": question}])

    def send(self, *, script: str, stream: bool, limit: int = 6000, think: bool = False) -> Said:
        """See ToolClient."""
        tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in TOOLS]
        ask: Any = {"model": self._model, "max_tokens": limit, "messages": self._turns, "tools": tools}
        if think:
            ask["reasoning_effort"] = "high"
        if stream:
            ask |= {"stream": True, "stream_options": {"include_usage": True}}
        raw = self._sdk.chat.completions.with_raw_response.create(**ask, extra_headers={"x-simulator": script})
        if not stream:
            return self._said(ChatCompletion.model_validate_json(raw.content, strict=True), raw.headers)
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        chunks: Any = raw.parse()
        for chunk in chunks:
            state.handle_chunk(chunk)
        return self._said(state.current_completion_snapshot, raw.headers)

    def go_on(self, said: Said, results: list[Result]) -> None:
        """See ToolClient."""
        told = [{"role": "tool", "tool_call_id": one.call_id, "content": one.text} for one in results]
        self._turns += [*said.turn, *told]

    def _said(self, completion: ChatCompletion, headers: Any) -> Said:
        choice, usage = completion.choices[0], completion.usage
        assert usage is not None
        calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
        told = [
            {"id": c.id, "type": "function", "function": c.function.model_dump(include={"name", "arguments"})}
            for c in calls
        ]
        turn = {"role": "assistant", "content": choice.message.content} | ({"tool_calls": told} if told else {})
        return Said(
            headers["x-request-id"],
            choice.message.content or "",
            [Call(call.id, call.function.name, call.function.arguments) for call in calls],
            choice.finish_reason,
            _used(usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details),
            [turn],
        )


class ResponsesClient:
    """OpenAI's Responses, which keeps nothing."""

    stops = ("completed", "completed", "incomplete")
    tells_failures = False

    def __init__(self, base_url: str, key: str) -> None:
        self._sdk = openai_sdk(f"{base_url}/v1", key)

    def ask(self, model: str, question: str) -> None:
        """See ToolClient."""
        self._model, self._turns = model, list[Any]([{"role": "user", "content": question}])

    def send(self, *, script: str, stream: bool, limit: int = 6000, think: bool = False) -> Said:
        """See ToolClient."""
        tools = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in TOOLS]
        ask: Any = {"model": self._model, "max_output_tokens": limit, "input": self._turns, "tools": tools}
        if think:
            ask |= {"reasoning": {"effort": "high", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
        raw = self._sdk.responses.with_raw_response.create(
            **ask, store=False, stream=stream, extra_headers={"x-simulator": script}
        )
        if not stream:
            return self._said(Response.model_validate_json(raw.content, strict=True), raw.headers)
        events: Any = raw.parse()
        ended = [event.response for event in events if event.type in ("response.completed", "response.incomplete")]
        assert len(ended) == 1
        return self._said(ended[0], raw.headers)

    def go_on(self, said: Said, results: list[Result]) -> None:
        """See ToolClient."""
        told = [{"type": "function_call_output", "call_id": one.call_id, "output": one.text} for one in results]
        self._turns += [*said.turn, *told]

    def _said(self, response: Response, headers: Any) -> Said:
        assert response.usage is not None
        calls = [item for item in response.output if item.type == "function_call"]
        return Said(
            headers["x-request-id"],
            response.output_text,
            [Call(call.call_id, call.name, call.arguments) for call in calls],
            response.status,
            _used(response.usage.input_tokens, response.usage.output_tokens, response.usage.input_tokens_details),
            [json.loads(item.model_dump_json(exclude_none=True)) for item in response.output],
        )


def _used(prompt: int, output: int, details: Any) -> Used:
    """OpenAI counts what came from a cache and what went into it as prompt."""
    told = details.model_dump() if details is not None else {}
    read, written = told.get("cached_tokens") or 0, told.get("cache_write_tokens") or 0
    return Used(prompt - read - written, output, read, written)
