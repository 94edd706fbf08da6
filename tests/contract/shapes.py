"""Answers held against the official SDKs' own types: strictly, and without fields that we invented.

An SDK's usual parsing takes garbage silently; that it did not raise proves little.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

Shape = TypeVar("Shape", bound=BaseModel)

_MESSAGE_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def whole(shape: type[Shape], raw: bytes | str) -> Shape:
    """A plain answer of this shape."""
    answer = shape.model_validate_json(raw, strict=True)
    assert list(invented(answer)) == []
    return answer


def message(raw: bytes | str) -> Message:
    """A Message of Anthropic's."""
    return whole(Message, raw)


def count(raw: bytes | str) -> MessageTokensCount:
    """A count of Anthropic's."""
    return whole(MessageTokensCount, raw)


def completion(raw: bytes | str) -> ChatCompletion:
    """A chat completion of OpenAI's."""
    return whole(ChatCompletion, raw)


def response(raw: bytes | str) -> Response:
    """A Response of OpenAI's."""
    return whole(Response, raw)


def embeddings(raw: bytes | str) -> CreateEmbeddingResponse:
    """A list of embeddings of OpenAI's; the SDK itself asks for them as base64, of which its type knows nothing."""
    return whole(CreateEmbeddingResponse, raw)


def message_events(raw: bytes | str) -> list[Any]:
    """The events of a streamed Message, in their order: start, blocks, delta with the final usage, stop."""
    events = [_event(_MESSAGE_EVENT, data) for data in data_of(raw) if json.loads(data)["type"] != "ping"]
    types = [event.type for event in events]
    assert types[0] == "message_start"
    assert types[-2:] == ["message_delta", "message_stop"]
    assert types.count("content_block_start") == types.count("content_block_stop") > 0
    return events


def chunks(raw: bytes | str) -> list[ChatCompletionChunk]:
    """The chunks of a streamed chat completion, which [DONE] ends."""
    *said, done = data_of(raw)
    assert done == "[DONE]"
    return [whole(ChatCompletionChunk, data) for data in said]


def response_events(raw: bytes | str) -> list[Any]:
    """The events of a streamed Response, numbered without a gap, which the whole Response ends."""
    events = [_event(_RESPONSE_EVENT, data) for data in data_of(raw)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    return events


def data_of(raw: bytes | str) -> list[str]:
    """The data of each server-sent event. Lines end with LF alone: words may hold other separators."""
    text = raw if isinstance(raw, str) else raw.decode()
    return [line.removeprefix("data:").strip() for line in text.split("\n") if line.startswith("data:")]


def encoded(said: Any) -> str:
    """A part of an answer as JSON again, to be held against the type of that part."""
    return json.dumps(said)


def invented(said: Any, path: str = "") -> Iterator[str]:
    """Fields that the SDK does not know, by their paths."""
    if isinstance(said, BaseModel):
        yield from (f"{path}.{name}" for name in said.__pydantic_extra__ or ())
        for name in type(said).model_fields:
            yield from invented(getattr(said, name), f"{path}.{name}")
    elif isinstance(said, dict):
        for name, value in said.items():
            yield from invented(value, f"{path}.{name}")
    elif isinstance(said, Iterable) and not isinstance(said, str | bytes):
        for index, value in enumerate(said):
            yield from invented(value, f"{path}[{index}]")


def _event(union: TypeAdapter[Any], data: str) -> Any:
    event = union.validate_json(data, strict=True)
    assert list(invented(event)) == []
    return event
