"""The simulator over a real connection: shapes, scripts, counts."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from services.simulator.app import listen
from services.simulator.settings import SimulatorSettings

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
HEADERS = {"x-api-key": "sim-test"}


class Client:
    """A simulator of its own and a connection pool to it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def post(
        self, script: str = "", headers: dict[str, str] | None = None, **fields: Any
    ) -> tuple[int, Any, bytes]:
        ask = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello there"}]} | fields
        sent = HEADERS | ({"x-simulator": script} if script else {}) | (headers or {})
        async with self.session.post("/v1/messages", json=ask, headers=sent) as response:
            return response.status, response.headers, await response.read()

    async def served(self) -> dict[str, Any]:
        async with self.session.get("/__served") as response:
            found: dict[str, Any] = await response.json()
            return found


@pytest.fixture
async def client(unused_tcp_port: int) -> AsyncIterator[Client]:
    settings = SimulatorSettings(port=unused_tcp_port, first_ms=0, gap_ms=0, body_max_bytes=4096)
    server = await listen(settings)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as session:
        yield Client(session)
    server.close()


def events(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[5:]) for line in stream.splitlines() if line.startswith(b"data:")]


async def test_a_plain_answer_has_the_real_apis_shape(client: Client) -> None:
    for script in ("", "thinking=3;tool=1;cache_read=5;cache_write_5m=6;cache_write_1h=7"):
        status, headers, body = await client.post(script)
        assert status == 200
        message = Message.model_validate_json(body, strict=True)
        assert message.model == "m"
        assert headers["request-id"].startswith("req_")
        assert "anthropic-ratelimit-requests-reset" in headers


async def test_a_stream_has_the_real_apis_events_in_their_order(client: Client) -> None:
    _, headers, body = await client.post("thinking=2;tool=1;tokens=4", stream=True)
    assert headers["content-type"].startswith("text/event-stream")
    found = events(body)
    for event in found:
        if event["type"] != "ping":
            EVENT.validate_json(json.dumps(event), strict=True)
    types = [event["type"] for event in found]
    assert types[0] == "message_start"
    assert types[-2:] == ["message_delta", "message_stop"]
    assert types.count("content_block_start") == types.count("content_block_stop") == 3
    assert found[-2]["usage"]["output_tokens"] == 4
    partial = "".join(
        event["delta"].get("partial_json", "") for event in found if event["type"] == "content_block_delta"
    )
    assert json.loads(partial)["city"]


async def test_what_was_served_is_counted_by_class(client: Client) -> None:
    await client.post("tokens=7;input_tokens=11;cache_read=1;cache_write_5m=2;cache_write_1h=3")
    await client.post("tokens=5;input_tokens=2", stream=True)
    await client.post("status=500")
    served = await client.served()
    assert served["requests"] == 3
    assert served["streams"] == 1
    assert served["by_status"] == {"200": 2, "500": 1}
    assert served["tokens"] == {
        "input": 13, "output": 12, "cache_read": 1, "cache_write_5m": 2, "cache_write_1h": 3
    }  # fmt: skip
    async with client.session.delete("/__served"):
        assert (await client.served())["requests"] == 0


async def test_output_is_limited_by_max_tokens(client: Client) -> None:
    _, _, body = await client.post("tokens=50", max_tokens=3)
    message = Message.model_validate_json(body)
    assert (message.usage.output_tokens, message.stop_reason) == (3, "max_tokens")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503, 529])
async def test_every_scripted_error_has_its_own_body(client: Client, status: int) -> None:
    found, headers, body = await client.post(f"status={status};message=why;retry_after=3;reset_s=9", stream=True)
    assert found == status
    assert json.loads(body)["error"]["message"] == "why"
    assert headers["retry-after"] == "3"


async def test_a_fault_may_be_for_the_first_requests_or_for_one_credential_only(client: Client) -> None:
    assert [(await client.post("status=500;id=a;times=2"))[0] for _ in range(4)] == [500, 500, 200, 200]
    assert (await client.post("status=500;only_credential=other"))[0] == 200
    assert (await client.post("status=500;only_credential=sim-test"))[0] == 500


async def test_a_connection_breaks_where_the_script_says(client: Client) -> None:
    for script, stream in (
        ("cut_after=-1", False),
        ("cut_after=0", False),
        ("cut_after=1", False),
        ("cut_after=3", True),
    ):
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await client.post(script, stream=stream)
    assert (await client.served())["open"] == 0


async def test_a_client_that_leaves_is_noticed_even_while_nothing_is_said(client: Client) -> None:
    for script, stream in (("hang=before", False), ("hang=after;cut_after=4", True), ("first_ms=9000", False)):
        asked = asyncio.create_task(client.post(script, stream=stream))
        while (await client.served())["open"] == 0:
            await asyncio.sleep(0.005)
        asked.cancel()
        while (await client.served())["open"]:
            await asyncio.sleep(0.005)
    assert (await client.served())["aborted"] == 3


async def test_streams_may_fail_with_an_error_event_first_or_later(client: Client) -> None:
    assert [event["type"] for event in events((await client.post("error_first=1", stream=True))[2])] == ["error"]
    found = events((await client.post("error_after=2;tokens=9", stream=True))[2])
    assert found[-1]["type"] == "error"
    assert sum(event["type"] == "content_block_delta" for event in found) == 2


async def test_a_stream_says_the_same_however_it_is_cut_into_pieces(client: Client) -> None:
    whole = events((await client.post("tokens=9", stream=True))[2])
    for script in ("tokens=9;chunk=1", "tokens=9;chunk=13", "tokens=9;crlf=1"):
        found = events((await client.post(script, stream=True))[2])
        assert [event["type"] for event in found] == [event["type"] for event in whole]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"model": None}, "model"),
        ({"stream": 1}, "stream"),
    ],
)
async def test_what_the_real_api_refuses_is_refused(client: Client, fields: dict[str, Any], words: str) -> None:
    status, _, body = await client.post(**fields)
    assert status == 400
    assert words in json.loads(body)["error"]["message"]


async def test_credentials_and_models_that_it_does_not_take(client: Client) -> None:
    assert (await client.post(headers={"x-api-key": ""}))[0] == 401
    assert (await client.post(headers={"x-api-key": "sim-bad"}))[0] == 401
    assert (await client.post(headers={"x-api-key": "sim-denied"}))[0] == 403
    assert (await client.post(model="unknown-upstream-model"))[0] == 404
    assert (await client.post(system="x" * 5000))[0] == 413


async def test_credentials_are_shown_by_their_digest_only(client: Client) -> None:
    await client.post(headers={"authorization": "Bearer top-secret"})
    async with client.session.get("/__served/requests?last=1") as response:
        text = await response.text()
    assert "top-secret" not in text
    assert "sim-test" not in text
