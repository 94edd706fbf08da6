"""OpenAI's APIs over real connections: credentials, errors, headers, and the scripts that drive Messages too."""

import json
from typing import Any

import aiohttp
import pytest

from tests.unit.simulator.client import CREDENTIAL, Answer, Client

PATHS = ["/v1/chat/completions", "/v1/responses"]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/embeddings": {"model": "m", "input": "hi"},
}


async def post(
    client: Client, path: str, script: str = "", headers: dict[str, str] | None = None, **fields: Any
) -> Answer:
    sent = {"authorization": f"Bearer {CREDENTIAL}", "x-simulator": script} if headers is None else headers
    async with client.session.post(path, json=BODIES[path] | fields, headers=sent) as response:
        body = b""
        try:
            async for piece in response.content.iter_any():
                body += piece
        except aiohttp.ClientPayloadError:
            return Answer(response.status, response.headers, body, whole=False)
        return Answer(response.status, response.headers, body)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": CREDENTIAL}, 401),
        ({"authorization": "Basic x"}, 401),
        ({"authorization": "Bearer sim-bad"}, 401),
        ({"authorization": "Bearer sim-denied"}, 403),
        ({"authorization": f"bearer {CREDENTIAL}"}, 200),
    ],
)
async def test_only_a_bearer_token_counts(client: Client, path: str, headers: dict[str, str], status: int) -> None:
    answer = await post(client, path, headers=headers)
    assert answer.status == status
    if status != 200:
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert CREDENTIAL not in answer.body.decode()


async def test_anthropics_api_takes_a_bearer_token_too(client: Client) -> None:
    headers = {"x-api-key": "", "authorization": f"Bearer {CREDENTIAL}"}
    assert (await client.post(headers=headers)).status == 200


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("script", "status", "type_", "code"),
    [
        ("status=400", 400, "invalid_request_error", None),
        ("status=401", 401, "invalid_request_error", "invalid_api_key"),
        ("status=404", 404, "invalid_request_error", "model_not_found"),
        ("status=429", 429, "requests", "rate_limit_exceeded"),
        ("status=500", 500, "server_error", None),
        ("status=503", 503, "server_error", None),
        ("error=credit", 429, "insufficient_quota", "insufficient_quota"),
    ],
)
async def test_errors_have_openais_shape(
    client: Client, path: str, script: str, status: int, type_: str, code: str | None
) -> None:
    answer = await post(client, path, script)
    assert (answer.status, answer.error["type"], answer.error["code"]) == (status, type_, code)


@pytest.mark.parametrize("path", BODIES)
async def test_a_model_that_is_not_there_is_not_found(client: Client, path: str) -> None:
    answer = await post(client, path, model="unknown-upstream-model")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_the_limits_are_told_in_openais_headers(client: Client) -> None:
    script = "rl_limit=50;rl_remaining=0;rl_reset_s=7;reset_s=360;retry_after=7;status=429"
    headers = (await post(client, PATHS[0], script)).headers
    told = {name: headers[f"x-ratelimit-{name}"] for name in ("limit-requests", "remaining-requests", "reset-requests")}
    assert told == {"limit-requests": "50", "remaining-requests": "0", "reset-requests": "7s"}
    assert (headers["x-ratelimit-reset-tokens"], headers["retry-after"]) == ("6m0s", "7")
    assert headers["x-request-id"].startswith("req_")
    assert not [name for name in headers if name.lower().startswith("anthropic")]
    untold = (await post(client, PATHS[0], "rl_limit=0")).headers
    assert not [name for name in untold if "ratelimit" in name.lower()]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("script", ["chunk=1", "chunk=7;crlf=1", "crlf=1", "gap_ms=0.1"])
async def test_a_stream_says_the_same_however_it_is_written(client: Client, path: str, script: str) -> None:
    def told(answer: Answer) -> list[Any]:
        lines = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: {")]
        return [delta for line in lines if (delta := _delta(json.loads(line)))]

    plain = await post(client, path, "tokens=12", stream=True)
    assert plain.headers["content-type"].startswith("text/event-stream")
    assert len(told(plain)) == 12
    assert told(await post(client, path, f"tokens=12;{script}", stream=True)) == told(plain)


def _delta(event: dict[str, Any]) -> str:
    """The text of an event of either API."""
    choices = event.get("choices") or [{}]
    return event.get("delta") or choices[0].get("delta", {}).get("content") or ""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_may_break_off_and_what_was_sent_is_counted(client: Client, path: str, stream: bool) -> None:
    answer = await post(client, path, "tokens=9;cut_after=6;input_tokens=77", stream=stream)
    assert (answer.status, answer.whole) == (200, False)
    tokens = (await client.last())["tokens"]
    events = [json.loads(line[6:]) for line in answer.body.split(b"\n") if line.startswith(b"data: {")]
    sent = len([event for event in events if _delta(event)])
    assert (tokens["input"], tokens["output"]) == ((77, sent) if stream else (0, 0))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_served_is_counted_alike_by_every_api(client: Client, path: str, stream: bool) -> None:
    await post(client, path, "tokens=9;thinking=2;input_tokens=5;cache_read=3;cache_write_5m=2", stream=stream)
    expected = {"input": 5, "output": 11, "cache_read": 3, "cache_write_5m": 2, "cache_write_1h": 0}
    assert (await client.last())["tokens"] == expected


async def test_behaviour_by_credential_holds_for_every_api(client: Client) -> None:
    await client.behave(CREDENTIAL, "status=529")
    assert [(await post(client, path)).status for path in BODIES] == [529] * 3


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_that_falls_silent_and_one_that_never_begins(client: Client, path: str) -> None:
    for script in ("hang=after;cut_after=3", "hang=before"):
        with pytest.raises(TimeoutError):
            async with aiohttp.ClientSession(client.session._base_url, timeout=aiohttp.ClientTimeout(0.2)) as session:
                await post(Client(session, client.port), path, script, stream=True)
    await client.until_open(0)
    assert (await client.served())["aborted"] == 2
