"""Trying one upstream account: a real request, as small as its API takes, past pools, limits and cooldowns.

Edges alone face upstreams with what clients ask; this is what an operator asks, a few times a day, and the credential
stays where it is opened (docs/adr/0027).
"""

import time
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from services.router.accounts import Account
from services.shared.sockets import public_socket

_MODEL_TOKENS: Final = 16
_TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=5)
_ANSWER_BYTES: Final = 256 * 1024
_MESSAGE_LENGTH: Final = 500
_PROMPT: Final = [{"role": "user", "content": "Say ok."}]
_SPEAKS_MESSAGES: Final = ("anthropic", "simulator")
_REQUEST_IDS: Final = ("request-id", "x-request-id")


@dataclass(frozen=True, slots=True)
class Found:
    """How a try went; `http_status` is 0 when no answer came."""

    ok: bool
    http_status: int
    duration_ms: int
    message: str = ""
    upstream_request_id: str = ""


async def run(account: Account, model: str, *, private: bool) -> Found:
    """Asks the account for a few tokens of a public model that it serves. What fails is said, never raised.

    Args:
        private: whether the account and its proxy may be on this machine or in a private network.
    """
    url, headers, body = request(account, account.models[model])
    connector = aiohttp.TCPConnector(socket_factory=None if private else public_socket)
    began = time.monotonic()

    def since() -> int:
        return round((time.monotonic() - began) * 1000)

    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector) as session,
            session.post(
                url, data=msgspec.json.encode(body), headers=headers, proxy=account.proxy or None, allow_redirects=False
            ) as response,
        ):
            said = await response.content.read(_ANSWER_BYTES)
            ok = response.status == 200
            message = "" if ok else complaint(said, account.credential)
            upstream_id = next((response.headers[name] for name in _REQUEST_IDS if name in response.headers), "")
            return Found(ok, response.status, since(), message, upstream_id)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Found(False, 0, since(), _hidden(f"no answer: {error or type(error).__name__}", account.credential))


def request(account: Account, upstream_model: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body of the smallest request that the account's own API takes. Pure."""
    headers = {"content-type": "application/json", **account.headers}
    if account.kind in _SPEAKS_MESSAGES:
        headers = {"anthropic-version": "2023-06-01", "x-api-key": account.credential, **headers}
        body = {"model": upstream_model, "max_tokens": _MODEL_TOKENS, "messages": _PROMPT}
        return f"{account.base_url}/v1/messages", headers, body
    headers["authorization"] = f"Bearer {account.credential}"
    # Models that think refuse max_tokens; those of other makers do not know its successor.
    bound = "max_completion_tokens" if account.kind == "openai" else "max_tokens"
    body = {"model": upstream_model, bound: _MODEL_TOKENS, "messages": _PROMPT}
    path = "/chat/completions" if account.kind == "gemini-openai" else "/v1/chat/completions"
    return account.base_url + path, headers, body


def complaint(answer: bytes, credential: str) -> str:
    """What an error's body says, without the credential. Pure."""
    try:
        said = msgspec.json.decode(answer)
        error = said.get("error", said) if isinstance(said, dict) else said
        text = error.get("message", "") if isinstance(error, dict) else error
    except msgspec.DecodeError:
        text = answer.decode(errors="replace")
    return _hidden(str(text or "an answer without a message"), credential)


def _hidden(text: str, credential: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in text.replace(credential, "(credential)"))
    return plain[:_MESSAGE_LENGTH].strip()
