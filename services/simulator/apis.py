"""The APIs that the simulator speaks, each with how it reads, refuses and answers; and where each is found. Pure."""

import itertools
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from services.simulator import (
    chat,
    chat_request,
    embeddings,
    headers,
    messages,
    messages_request,
    openai_errors,
    responses,
    responses_request,
)
from services.simulator.asked import Asked, Invalid
from services.simulator.connection import Headers, Request
from services.simulator.said import Said, plan
from services.simulator.script import STATUSES, Script
from services.simulator.served import credential
from services.simulator.sse import Event
from services.simulator.tokens import Counts

_COMMENT: Final = Event(b": OPENROUTER PROCESSING\n\n")
"""OpenRouter keeps connections alive so: https://openrouter.ai/docs/api-reference/streaming"""

Previous = Callable[[str], frozenset[str] | None]
"""The ids of the tool calls that an earlier answer made; None where there is no such answer."""


class Api(Protocol):
    """One API at one place."""

    answer_prefix: str

    def credential(self, request: Request) -> str:
        """The credential, where this API looks for it; empty without one."""

    def refused(self, sent: str) -> tuple[int, str] | None:
        """Status and message for a credential that is not taken."""

    def error(self, status: int, message: str, request_id: str, fault: Invalid | None = None) -> bytes:
        """An error body; `fault` knows more of a request's fault than its text."""

    def headers(self, request_id: str, script: Script, now_s: int) -> Headers:
        """What answers carry beside their type."""

    def unknown_model(self, model: str) -> str:
        """The message of 404 for a model."""

    def read(self, request: Request, previous: Previous) -> Asked:
        """Reads a request. Raises Invalid."""

    def refusal(self, asked: Asked, script: Script) -> Invalid | None:
        """Why a valid request is refused all the same."""

    def plan(self, asked: Asked, script: Script) -> Said:
        """What the answer says and uses."""

    def answer(self, asked: Asked, said: Said, answer_id: str, now_s: int) -> bytes:
        """A plain answer."""

    def events(self, asked: Asked, said: Said, script: Script, answer_id: str, now_s: int) -> Iterator[Event]:
        """A streamed one."""

    def calls(self, asked: Asked, said: Said, answer_id: str) -> frozenset[str] | None:
        """Ids of the tool calls that a later request may answer by this answer's id; None where none may."""


class AnthropicErrors:
    """What of an API is Anthropic's."""

    answer_prefix = "msg_"

    def credential(self, request: Request) -> str:
        """The x-api-key, else the bearer token."""
        return credential(request.header("x-api-key") or _bearer(request))

    def refused(self, sent: str) -> tuple[int, str] | None:
        """See Api."""
        return {
            "": (401, "x-api-key header is required"),
            "sim-bad": (401, "invalid x-api-key"),
            "sim-denied": (403, "Your API key does not have permission to use the specified resource"),
        }.get(sent)

    def error(self, status: int, message: str, request_id: str, fault: Invalid | None = None) -> bytes:
        """See Api."""
        return messages.error(STATUSES[status], message, request_id, fault.code if fault else None)

    def headers(self, request_id: str, script: Script, now_s: int) -> Headers:
        """See Api."""
        return headers.anthropic(request_id, script, now_s)

    def unknown_model(self, model: str) -> str:
        """See Api."""
        return f"model: {model}"

    def refusal(self, asked: Asked, script: Script) -> Invalid | None:
        """See Api."""
        return messages.refusal(asked, script)

    def plan(self, asked: Asked, script: Script) -> Said:
        """See Api."""
        return plan(asked, script)

    def calls(self, asked: Asked, said: Said, answer_id: str) -> frozenset[str] | None:
        """See Api: nothing is kept."""
        return None


class Messages(AnthropicErrors):
    """POST /v1/messages."""

    def read(self, request: Request, previous: Previous) -> Asked:
        """See Api."""
        return messages_request.read(request.body, request.header("anthropic-beta"))

    def answer(self, asked: Asked, said: Said, answer_id: str, now_s: int) -> bytes:
        """See Api."""
        return messages.answer(asked, said, answer_id)

    def events(self, asked: Asked, said: Said, script: Script, answer_id: str, now_s: int) -> Iterator[Event]:
        """See Api."""
        return messages.events(asked, said, script, answer_id)


class Counting(AnthropicErrors):
    """POST /v1/messages/count_tokens: uses nothing."""

    def read(self, request: Request, previous: Previous) -> Asked:
        """See Api."""
        return messages_request.read_counting(request.body, request.header("anthropic-beta"))

    def plan(self, asked: Asked, script: Script) -> Said:
        """See Api."""
        return Said(plan(asked, script).counts, free=True)

    def answer(self, asked: Asked, said: Said, answer_id: str, now_s: int) -> bytes:
        """See Api."""
        return messages.counted(said)

    def events(self, asked: Asked, said: Said, script: Script, answer_id: str, now_s: int) -> Iterator[Event]:
        """See Api: nobody streams a number."""
        return iter(())


class OpenAIErrors:
    """What of an API is OpenAI's; `lenient` as its imitators are to fields of their own."""

    answer_prefix = "chatcmpl-"

    def __init__(self, *, lenient: bool = False, comments: bool = False) -> None:
        self._lenient = lenient
        self._comments = comments

    def credential(self, request: Request) -> str:
        """The bearer token alone."""
        return credential(_bearer(request))

    def refused(self, sent: str) -> tuple[int, str] | None:
        """See Api."""
        return {
            "": (
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using"
                " Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            ),
            "sim-bad": (401, "Incorrect API key provided: sim-bad."),
            "sim-denied": (403, "You do not have access to the organization tied to the API key."),
        }.get(sent)

    def error(self, status: int, message: str, request_id: str, fault: Invalid | None = None) -> bytes:
        """See Api."""
        known = fault or Invalid(message)
        return openai_errors.error(status, message, known.param, known.code)

    def headers(self, request_id: str, script: Script, now_s: int) -> Headers:
        """See Api."""
        return headers.openai(request_id, script, now_s)

    def unknown_model(self, model: str) -> str:
        """See Api."""
        return f"The model `{model}` does not exist or you do not have access to it."

    def refusal(self, asked: Asked, script: Script) -> Invalid | None:
        """See Api."""
        return openai_errors.refusal(asked.thoughtful if script.error == "signature" else asked.refused, script)

    def plan(self, asked: Asked, script: Script) -> Said:
        """See Api."""
        return plan(asked, script, thoughts_count=True)

    def calls(self, asked: Asked, said: Said, answer_id: str) -> frozenset[str] | None:
        """See Api: nothing is kept."""
        return None

    def _with_comments(self, events: Iterator[Event]) -> Iterator[Event]:
        return itertools.chain((_COMMENT,), events) if self._comments else events


class Chat(OpenAIErrors):
    """POST /v1/chat/completions."""

    def read(self, request: Request, previous: Previous) -> Asked:
        """See Api."""
        return chat_request.read(request.body, lenient=self._lenient)

    def answer(self, asked: Asked, said: Said, answer_id: str, now_s: int) -> bytes:
        """See Api."""
        return chat.answer(asked, said, answer_id, now_s)

    def events(self, asked: Asked, said: Said, script: Script, answer_id: str, now_s: int) -> Iterator[Event]:
        """See Api."""
        return self._with_comments(chat.events(asked, said, script, answer_id, now_s))


class Responses(OpenAIErrors):
    """POST /v1/responses."""

    answer_prefix = "resp_"

    def read(self, request: Request, previous: Previous) -> Asked:
        """See Api."""
        return responses_request.read(request.body, previous, lenient=self._lenient)

    def answer(self, asked: Asked, said: Said, answer_id: str, now_s: int) -> bytes:
        """See Api."""
        return responses.answer(asked, said, answer_id, now_s)

    def events(self, asked: Asked, said: Said, script: Script, answer_id: str, now_s: int) -> Iterator[Event]:
        """See Api."""
        return self._with_comments(responses.events(asked, said, script, answer_id, now_s))

    def calls(self, asked: Asked, said: Said, answer_id: str) -> frozenset[str] | None:
        """See Api: answers are kept unless the request says that they are not to be."""
        return None if asked.fields.get("store") is False else responses.call_ids(said, answer_id)


class Embeddings(OpenAIErrors):
    """POST /v1/embeddings."""

    def read(self, request: Request, previous: Previous) -> Asked:
        """See Api."""
        return embeddings.read(request.body)

    def plan(self, asked: Asked, script: Script) -> Said:
        """See Api: only input is used."""
        return Said(Counts(input=plan(asked, script).counts.input))

    def answer(self, asked: Asked, said: Said, answer_id: str, now_s: int) -> bytes:
        """See Api."""
        return embeddings.answer(asked, said)

    def events(self, asked: Asked, said: Said, script: Script, answer_id: str, now_s: int) -> Iterator[Event]:
        """See Api: nobody streams a vector."""
        return iter(())


def _bearer(request: Request) -> str:
    authorization = request.header("authorization")
    return authorization if authorization[:7].lower() == "bearer " else ""


def _openai(base: str, *, lenient: bool = False, comments: bool = False) -> dict[str, Api]:
    return {
        f"{base}/chat/completions": Chat(lenient=lenient, comments=comments),
        f"{base}/responses": Responses(lenient=lenient, comments=comments),
        f"{base}/embeddings": Embeddings(lenient=lenient),
    }


def _anthropic(base: str) -> dict[str, Api]:
    return {f"{base}/messages": Messages(), f"{base}/messages/count_tokens": Counting()}


ROUTES: Final[dict[str, Api]] = {
    **_anthropic("/v1"),
    **_openai("/v1"),
    **_anthropic("/api/v1"),
    **_openai("/api/v1", lenient=True, comments=True),
    **_openai("/v1beta/openai", lenient=True),
    "/compatible/v1/chat/completions": Chat(lenient=True, comments=False),
}
"""By path. `/api/v1` is OpenRouter's base, `/v1beta/openai` Gemini's for clients of OpenAI's API, `/compatible/v1` that
of a server that knows nothing but Chat Completions."""
MODEL_LISTS: Final = ("/v1/models", "/api/v1/models", "/v1beta/openai/models", "/compatible/v1/models")
