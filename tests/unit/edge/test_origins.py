"""Unit tests of services.edge.origins."""

from typing import Any

import pytest

from services.edge.origins import Origins, Receive, Scope, Send, parsed

CONSOLE = b"https://console.example"


async def ask(origins: str, method: str = "POST", **headers: str) -> tuple[int, dict[bytes, bytes]]:
    """The status and headers that come back; 299 is the app's own."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": [(b"x-request-id", b"req_1")]})
        await send({"type": "http.response.body", "body": b""})

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "headers": named}
    await Origins(app, parsed(origins))(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


async def test_a_page_that_is_named_may_read_answers() -> None:
    status, headers = await ask(CONSOLE.decode(), origin="https://console.example")
    assert status == 299
    assert headers[b"access-control-allow-origin"] == CONSOLE
    assert b"x-request-id" in headers[b"access-control-expose-headers"]
    assert headers[b"vary"] == b"origin"
    assert b"access-control-allow-credentials" not in headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://console.example", "https://console.example:1", "null"]
)
async def test_no_other_page_may(origin: str) -> None:
    status, headers = await ask(CONSOLE.decode(), origin=origin)
    assert (status, list(headers)) == (299, [b"x-request-id"])
    status, headers = await ask(CONSOLE.decode(), "OPTIONS", origin=origin, access_control_request_method="POST")
    assert status == 299


async def test_programs_pass_untouched() -> None:
    assert await ask("*") == (299, {b"x-request-id": b"req_1"})


async def test_a_preflight_is_answered_without_asking_anybody() -> None:
    status, headers = await ask(
        CONSOLE.decode(),
        "OPTIONS",
        origin="https://console.example",
        access_control_request_method="POST",
        access_control_request_headers="x-api-key,content-type",
    )
    assert status == 204
    assert headers[b"access-control-allow-headers"] == b"x-api-key,content-type"
    assert b"POST" in headers[b"access-control-allow-methods"]


async def test_every_page_may_where_the_setting_says_so() -> None:
    _, headers = await ask("*", origin="https://anything.example")
    assert headers[b"access-control-allow-origin"] == b"*"


@pytest.mark.parametrize("wrong", ["console.example", "ftp://x", "https://x/path", "https://", "https://a b"])
def test_what_is_no_origin_is_said_at_the_start(wrong: str) -> None:
    with pytest.raises(ValueError):
        parsed(wrong)
