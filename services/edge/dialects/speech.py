"""How a client is spoken to beside its answer: pings, errors and limits, in the words of its API and brand."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from services.edge.apis import Api
from services.edge.brand import Brand
from services.edge.dialects import anthropic, errors, openai
from services.edge.head import Headers
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2


@dataclass(frozen=True, slots=True)
class Speech:
    """One API's words."""

    dialect: errors.Api
    ping: bytes
    """What says in a stream that nothing is to be said yet."""
    error_event: Callable[[Refusal, Brand, str, bool], bytes]
    """The end of a stream that broke; True when an event was cut."""
    event_of_error: Callable[[bytes], bytes]
    """An upstream's error, already in the client's words, as the end of a stream."""
    limit_headers: Callable[[Iterable[auth_pb2.LimitState], int], Headers]
    """How the caller's limits stand at a moment, Unix milliseconds."""

    def error_answer(self, refusal: Refusal, brand: Brand, request_id: str) -> tuple[int, Headers, bytes]:
        """Status, headers and body of an error of ours."""
        return errors.answer(refusal, self.dialect, brand, request_id)


def _event(dialect: errors.Api) -> Callable[[Refusal, Brand, str, bool], bytes]:
    return lambda refusal, brand, request_id, mid_event: errors.event(refusal, dialect, brand, request_id, mid_event)


_ANTHROPIC: Final = Speech(
    "anthropic", anthropic.PING, _event("anthropic"), anthropic.event_of_error, anthropic.limit_headers
)
_CHAT: Final = Speech("openai", openai.PING, _event("openai"), openai.chat_event_of_error, openai.limit_headers)
_RESPONSES: Final = Speech(
    "openai", openai.PING, openai.response_error_event, openai.response_event_of_error, openai.limit_headers
)
SPEECHES: Final[Mapping[Api, Speech]] = {
    Api.MESSAGES: _ANTHROPIC,
    Api.COUNT_TOKENS: _ANTHROPIC,
    Api.CHAT: _CHAT,
    Api.RESPONSES: _RESPONSES,
    Api.EMBEDDINGS: _CHAT,
}
