"""What the tests of both Responses translations ask of an answer."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
DATA = Path(__file__).parents[3] / "data" / "responses"
CODEX: dict[str, Any] = json.loads((DATA / "codex.json").read_text())
FUNCTION = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    "strict": False,
}
CUSTOM = {"type": "custom", "name": "patch", "description": "Edits."}


def request_body(**fields: Any) -> bytes:
    """A request with `fields`; without those that are `...`."""
    whole = {"model": "public", "input": "hi", **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def response(raw: bytes) -> dict[str, Any]:
    """A plain answer, which is strictly what OpenAI's types want."""
    Response.model_validate_json(raw, strict=True)
    return dict(json.loads(raw))


def events(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each strictly what OpenAI's types want, numbered without a gap."""
    found = []
    for frame in raw.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        EVENT.validate_json(data.removeprefix("data: "), strict=True)
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def types(found: list[dict[str, Any]]) -> list[str]:
    """The types of events, without the prefix that nearly all have."""
    return [event["type"].removeprefix("response.") for event in found]


def joined(found: list[dict[str, Any]], type_: str) -> str:
    """All deltas of a type."""
    return "".join(event["delta"] for event in found if event["type"] == type_)


def check_every_split(run: Callable[[list[bytes]], bytes], stream: bytes) -> None:
    """Whatever the chunks, the bytes for the client are the same."""
    whole = run([stream])
    assert run([stream[at : at + 1] for at in range(len(stream))]) == whole

    @given(st.lists(st.integers(0, len(stream)), max_size=12))
    def check(cuts: list[int]) -> None:
        bounds = [0, *sorted(cuts), len(stream)]
        chunks = [stream[start:end] for start, end in itertools.pairwise(bounds)]
        assert run(chunks) == whole

    check()
