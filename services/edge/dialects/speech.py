"""How a client is spoken to beside its answer: pings, errors and limits, in the words of its API."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from services.edge.apis import Api
from services.edge.dialects import anthropic, openai
from services.edge.head import Headers
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2


@dataclass(frozen=True, slots=True)
class Speech:
    """One API's words."""

    ping: bytes
    """What says in a stream that nothing is to be said yet."""
    error_answer: Callable[[Refusal, str], tuple[int, Headers, bytes]]
    """Status, headers and body of an error of ours, with the request id."""
    error_event: Callable[[Refusal, str, bool], bytes]
    """The end of a stream that broke; True when an event was cut."""
    event_of_error: Callable[[bytes], bytes]
    """An upstream's error, already in the client's words, as the end of a stream."""
    limit_headers: Callable[[Iterable[auth_pb2.LimitState], int], Headers]
    """How the caller's limits stand at a moment, Unix milliseconds."""


_ANTHROPIC: Final = Speech(
    anthropic.PING,
    anthropic.error_answer,
    anthropic.error_event,
    anthropic.event_of_error,
    anthropic.limit_headers,
)
_CHAT: Final = Speech(
    openai.PING, openai.error_answer, openai.chat_error_event, openai.chat_event_of_error, openai.limit_headers
)
_RESPONSES: Final = Speech(
    openai.PING, openai.error_answer, openai.response_error_event, openai.response_event_of_error, openai.limit_headers
)
SPEECHES: Final[Mapping[Api, Speech]] = {
    Api.MESSAGES: _ANTHROPIC,
    Api.COUNT_TOKENS: _ANTHROPIC,
    Api.CHAT: _CHAT,
    Api.RESPONSES: _RESPONSES,
    Api.EMBEDDINGS: _CHAT,
}
