"""How a request goes to one upstream account, and its answer back: unchanged where the client speaks the upstream's API
(I5), translated where it does not."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

import msgspec

from services.edge.apis import Api, spoken_to
from services.edge.dialects import anthropic, upstream_errors
from services.edge.dialects.anthropic_errors import messages_error
from services.edge.dialects.asked import Asked
from services.edge.dialects.chat_usage import UsageChunkFilter
from services.edge.dialects.openai_errors import client_error
from services.edge.dialects.sse import EventTooLarge
from services.edge.head import Headers
from services.edge.metering import StreamMeter, of_answer
from services.edge.openai_metering import ChatMeter, ResponsesMeter, of_embeddings, of_openai_answer
from services.edge.upstream import Failure, UpstreamFailed
from services.shared.errors import Kind, Refusal
from services.shared.pricing import Tokens
from tollhouse.v1 import router_pb2

MeterAnswer = Callable[[bytes, int], tuple[Tokens, bool]]

_ANSWER_METERS: Final[Mapping[Api, MeterAnswer]] = {Api.MESSAGES: of_answer, Api.EMBEDDINGS: of_embeddings}
_BOUND_FIELDS: Final[Mapping[Api, str]] = {
    Api.MESSAGES: "max_tokens",
    Api.CHAT: "max_completion_tokens",
    Api.RESPONSES: "max_output_tokens",
}
_ERRORS: Final[Mapping[str, Callable[[int, bytes], bytes]]] = {"anthropic": messages_error, "openai": client_error}
_ONLY_OPENROUTER: Final = frozenset((b"http-referer", b"x-openrouter-title", b"x-title"))
"""Tell OpenRouter whose application it is, and concern nobody else."""
_ONLY_ANTHROPIC: Final = b"anthropic-"


class Translation(Protocol):
    """A request and its answer between two APIs; see `dialects`."""

    body: bytes

    def answer(self, body: bytes) -> bytes:
        """The upstream's plain answer in the client's API. Raises ValueError."""

    def error(self, status: int, body: bytes) -> bytes:
        """An upstream's error that is the client's own fault."""

    def feed(self, chunk: bytes) -> bytes:
        """Bytes for the client."""

    def end(self) -> bytes:
        """What is left to be said at the end of a stream."""


Translate = Callable[..., Translation]


class Passage:
    """One attempt's way there and back.

    Args:
        asked: what the request asks for.
        translate: what translates between the client's API and the upstream's.
        without_thinking: leave out the thinking of earlier turns.
        without_responses: the account has no Responses API, as servers that are compatible with OpenAI's may have none.
    """

    __slots__ = ("_dialect", "_filter", "_translation", "body", "headers", "meter_answer", "new_meter", "url")

    def __init__(
        self,
        api: Api,
        picked: router_pb2.PickResult,
        asked: Asked,
        body: bytes,
        query: str,
        onward: Headers,
        translate: Callable[[Api, Api], Translate],
        answer_id: str,
        now_s: int,
        *,
        without_thinking: bool = False,
        without_responses: bool = False,
    ) -> None:
        spoken = spoken_to(picked.kind, api, picked.upstream_model)
        if without_responses and spoken is Api.RESPONSES:
            spoken = Api.CHAT
        self._dialect = api.dialect
        self._translation: Translation | None = None
        self._filter: UsageChunkFilter | None = None
        if spoken is api:
            self.body = self._rewritten(api, picked, asked, body)
        else:
            self._translation = translate(api, spoken)(
                body,
                upstream_model=picked.upstream_model,
                default_max_tokens=asked.max_tokens,
                now_s=now_s,
                answer_id=answer_id,
            )
            self.body, self._translation.body = self._translation.body, b""  # one place to forget it
        if without_thinking and spoken is Api.MESSAGES:
            self.body = anthropic.without_thinking(self.body)
        self.url = _url(picked, spoken) + ("?" + query if query and spoken is api else "")
        self.headers = _headers(picked, spoken, onward, translated=spoken is not api)
        self.new_meter = _new_meter(spoken, asked)
        self.meter_answer = _ANSWER_METERS.get(spoken, of_openai_answer)

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets of a streamed chunk; may be nothing yet. Raises UpstreamFailed."""
        if self._translation is not None:
            try:
                return self._translation.feed(chunk)
            except EventTooLarge:
                raise UpstreamFailed(Failure.TOO_LARGE, reached=True) from None
        return chunk if self._filter is None else self._filter.feed(chunk)

    def end(self) -> bytes:
        """What the client gets when the stream has ended well."""
        if self._translation is not None:
            return self._translation.end()
        return b"" if self._filter is None else self._filter.end()

    def answer(self, body: bytes) -> bytes:
        """What the client gets of a plain answer. Raises ValueError when it is none that can be translated."""
        return body if self._translation is None else self._translation.answer(body)

    def error(self, status: int, body: bytes) -> bytes:
        """What the client gets of an error that is its own fault."""
        if self._translation is not None:
            return self._translation.error(status, body)
        return upstream_errors.without_account(body) or _ERRORS[self._dialect](status, b"")

    @property
    def translated(self) -> bool:
        """Whether the upstream speaks another API than the client."""
        return self._translation is not None

    def _rewritten(self, api: Api, picked: router_pb2.PickResult, asked: Asked, body: bytes) -> bytes:
        """The client's bytes, but for the few fields that have to be others."""
        changes: dict[str, object] = {}
        if picked.upstream_model != asked.model:
            changes["model"] = picked.upstream_model
        if asked.filled:
            changes[_BOUND_FIELDS[api]] = asked.filled
        if api is Api.CHAT and asked.stream and not asked.wants_usage:
            changes["stream_options"] = {"include_usage": True}
            self._filter = UsageChunkFilter()
        return _with_fields(body, changes) if changes else body


def _with_fields(body: bytes, changes: Mapping[str, object]) -> bytes:
    """The same JSON object with some fields set; every other field's value keeps its bytes. Raises Refusal."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UnicodeDecodeError as error:  # in a field's name, which nobody has looked at
        raise Refusal(Kind.INVALID_REQUEST, f"the body is not valid JSON: {error}") from None
    for name, value in changes.items():
        if isinstance(value, dict) and name in fields and fields[name] != msgspec.Raw(b"null"):
            value = msgspec.json.decode(fields[name], type=dict[str, msgspec.Raw]) | value
        fields[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode(fields)


def _new_meter(spoken: Api, asked: Asked) -> Callable[[], StreamMeter]:
    if spoken is Api.CHAT:
        return partial(ChatMeter, asked.choices)
    return ResponsesMeter if spoken is Api.RESPONSES else StreamMeter


def _url(picked: router_pb2.PickResult, spoken: Api) -> str:
    """Gemini's endpoint has its version before its name: .../v1beta/openai/chat/completions."""
    if picked.kind == router_pb2.UPSTREAM_KIND_GEMINI_OPENAI:
        return picked.base_url + spoken.value.removeprefix("/v1")
    return picked.base_url + spoken.value


def _headers(picked: router_pb2.PickResult, spoken: Api, onward: Headers, *, translated: bool) -> Headers:
    credential = picked.credential.encode("latin-1")
    to_anthropic = spoken.dialect == "anthropic"
    openrouter = picked.kind == router_pb2.UPSTREAM_KIND_OPENROUTER
    headers: Headers = []
    versioned = False
    for pair in onward:
        name = pair[0]
        if not openrouter and name in _ONLY_OPENROUTER:
            continue
        if name.startswith(_ONLY_ANTHROPIC):
            if not to_anthropic or (translated and name == b"anthropic-beta"):
                continue
            versioned = versioned or name == b"anthropic-version"
        headers.append(pair)
    headers += (
        (b"x-api-key", credential) if to_anthropic and not openrouter else (b"authorization", b"Bearer " + credential),
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"identity"),
    )
    if to_anthropic and not versioned:
        headers.append((b"anthropic-version", anthropic.DEFAULT_VERSION))
    if picked.headers:
        own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in picked.headers.items()]
        replaced = {name for name, _ in own}
        headers = [pair for pair in headers if pair[0] not in replaced] + own
    return headers
