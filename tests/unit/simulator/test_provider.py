"""The simulator over real connections: scripts, cuts, counts, and the SDK pointed right at it."""

import asyncio
import hashlib
import json
import time
from datetime import datetime
from typing import Any

import aiohttp
import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.unit.simulator.client import CREDENTIAL, Client, message

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
NOTHING = {"input": 0, "output": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    529: "overloaded_error",
}


async def test_an_unmodified_sdk_gets_answers_and_streams(client: Client) -> None:
    async with anthropic.AsyncAnthropic(
        api_key=CREDENTIAL, base_url=f"http://127.0.0.1:{client.port}", max_retries=0
    ) as sdk:
        ask: Any = message(model="claude-sonnet-4-6")
        raw = await sdk.messages.with_raw_response.create(**ask)
        whole = Message.model_validate_json(raw.http_response.content, strict=True)
        async with sdk.messages.stream(**ask) as stream:
            streamed = await stream.get_final_message()
    assert streamed.content[0].to_dict()["text"] == whole.content[0].to_dict()["text"]
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert whole.model == "claude-sonnet-4-6"
    assert (await client.last())["message_id"] == streamed.id != whole.id


async def test_a_stream_is_valid_event_by_event(client: Client) -> None:
    answer = await client.post("thinking=2;tool=1;tokens=4", stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    for event in answer.events:
        if event["type"] != "ping":
            EVENT.validate_json(json.dumps(event), strict=True)
    assert answer.types[-2:] == ["message_delta", "message_stop"]


async def test_answers_carry_the_headers_that_a_gateway_has_to_keep_to_itself(client: Client) -> None:
    for stream in (False, True):
        headers = (await client.post(stream=stream)).headers
        assert headers["request-id"] == (await client.last())["request_id"]
        for name in ("organization-id", "ratelimit-requests-limit", "ratelimit-requests-remaining"):
            assert headers[f"anthropic-{name}"]


async def test_what_was_served_is_counted_by_class(client: Client) -> None:
    await client.post("tokens=7;input_tokens=11;cache_read=1;cache_write_5m=2;cache_write_1h=3")
    await client.post("tokens=5;input_tokens=2", stream=True)
    await client.post("status=500", stream=True)
    assert await client.served() == {
        "requests": 3,
        "streams": 1,
        "open": 0,
        "aborted": 0,
        "by_credential": {CREDENTIAL: 3},
        "by_status": {"200": 2, "500": 1},
        "tokens": {"input": 13, "output": 12, "cache_read": 1, "cache_write_5m": 2, "cache_write_1h": 3},
    }
    async with client.session.delete("/__served"):
        assert (await client.served())["requests"] == 0


async def test_counts_hold_when_many_ask_at_once(client: Client) -> None:
    scripts = ["tokens=3;input_tokens=2;gap_ms=1", "tokens=4;input_tokens=1;chunk=50", "cut_after=4;input_tokens=5"]
    answers = await asyncio.gather(
        *(client.post(script, stream=True) for script in scripts for _ in range(40)),
        *(client.post("tokens=2;input_tokens=7") for _ in range(40)),
    )
    assert sum(not answer.whole for answer in answers) == 40
    served = await client.served()
    assert (served["requests"], served["streams"], served["open"], served["aborted"]) == (160, 120, 0, 0)
    assert served["tokens"] == NOTHING | {"input": 40 * (2 + 1 + 5 + 7), "output": 40 * (3 + 4 + 1 + 2)}


@pytest.mark.parametrize("stream", [False, True])
async def test_each_request_is_remembered_as_it_was_received_and_answered(client: Client, stream: bool) -> None:
    body = json.dumps(message(stream=stream)).encode()
    headers = {"Authorization": "Bearer top-secret", "X-App": "cli", "Content-Type": "application/json"}
    async with client.session.post("/v1/messages?beta=true", data=body, headers=headers) as response:
        received = await response.read()
    last = await client.last()
    assert (last["method"], last["path"], last["status"]) == ("POST", "/v1/messages?beta=true", 200)
    assert ["X-App", "cli"] in last["headers"]
    assert ["Authorization", hashlib.sha256(b"top-secret").hexdigest()] in last["headers"]
    assert "top-secret" not in json.dumps(last)
    assert last["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert last["response_sha256"] == hashlib.sha256(received).hexdigest()
    assert last["response_bytes"] == len(received)
    assert last["message_id"].encode() in received
    assert (last["stream"], last["aborted"]) == (stream, False)


@pytest.mark.parametrize(("status", "type_"), TYPES.items())
async def test_every_scripted_error_has_its_own_body(client: Client, status: int, type_: str) -> None:
    answer = await client.post(f"status={status};message=why not;retry_after=3;reset_s=9", stream=True)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.error == {"type": type_, "message": "why not"}
    assert answer.headers["retry-after"] == "3"
    reset = datetime.fromisoformat(answer.headers["anthropic-ratelimit-requests-reset"])
    assert reset.timestamp() == int(answer.headers["anthropic-ratelimit-unified-reset"])
    assert 4 <= reset.timestamp() - time.time() <= 9
    assert (await client.served())["tokens"] == NOTHING


async def test_a_script_may_be_in_the_prompt_and_one_that_cannot_be_read_is_refused(client: Client) -> None:
    asked = [{"role": "user", "content": [{"type": "text", "text": "Hi [[sim status=529; message=busy]]"}]}]
    assert (await client.post(messages=asked)).error["message"] == "busy"
    assert (await client.post("status=500", messages=asked)).status == 500
    refused = await client.post("speed=9")
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert "'speed'" in refused.error["message"]


async def test_a_fault_may_be_for_the_first_requests_or_for_one_credential_only(client: Client) -> None:
    assert [(await client.post("status=500;id=a;times=2")).status for _ in range(4)] == [500, 500, 200, 200]
    assert (await client.post("status=500;id=b;times=1")).status == 500
    both = "status=500;id=c;times=1;only_credential="
    assert (await client.post(both + "other")).status == 200
    assert [(await client.post(both + CREDENTIAL)).status for _ in range(2)] == [500, 200]
    async with client.session.delete("/__served"):
        assert (await client.post("status=500;id=a;times=2")).status == 500


@pytest.mark.parametrize("gap_ms", [0, 1])
@pytest.mark.parametrize("after", [0, 1, 3, 5, 9])
async def test_a_stream_is_cut_after_that_many_events_and_counts_what_was_sent(
    client: Client, after: int, gap_ms: int
) -> None:
    """The stream has nine events: start, block start, ping, three deltas, block stop, message delta, stop."""
    answer = await client.post(f"tokens=3;input_tokens=8;cut_after={after};gap_ms={gap_ms}", stream=True)
    assert (answer.status, answer.whole, len(answer.events)) == (200, False, after)
    last = await client.last()
    assert last["tokens"] == NOTHING | {"input": 8 if after else 0, "output": min(max(after - 3, 0), 3)}
    assert last["response_sha256"] == hashlib.sha256(answer.body).hexdigest()
    assert (last["aborted"], (await client.served())["open"]) == (False, 0)


async def test_a_stream_shorter_than_its_cut_ends_well(client: Client) -> None:
    answer = await client.post("tokens=3;cut_after=10", stream=True)
    assert answer.whole
    assert answer.types[-1] == "message_stop"


@pytest.mark.parametrize("script", ["", "status=500;"])
async def test_a_plain_body_is_cut_in_its_middle_or_before_its_first_byte(client: Client, script: str) -> None:
    for after in (0, 1):
        answer = await client.post(f"{script}cut_after={after}")
        assert (answer.whole, bool(answer.body)) == (False, bool(after))
        assert len(answer.body) == int(answer.headers["content-length"]) // 2 * after
    assert (await client.served())["tokens"] == NOTHING


async def test_a_connection_may_close_without_any_answer(client: Client) -> None:
    for stream in (False, True):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.post("cut_after=-1", stream=stream)
    served = await client.served()
    assert (served["requests"], served["open"], served["by_status"]) == (2, 0, {})


@pytest.mark.parametrize(
    ("script", "stream", "tokens"),
    [
        ("hang=before", False, (0, 0)),
        ("hang=before", True, (0, 0)),
        ("first_ms=9000", False, (0, 0)),
        ("hang=after;cut_after=0;input_tokens=4", True, (0, 0)),
        ("hang=after;cut_after=5;input_tokens=4", True, (4, 2)),
        ("hang=after;cut_after=1", False, (0, 0)),
        ("gap_ms=9000;input_tokens=4", True, (4, 0)),
    ],
)
async def test_a_client_that_leaves_is_noticed_even_while_nothing_is_said(
    client: Client, script: str, stream: bool, tokens: tuple[int, int]
) -> None:
    asked = asyncio.create_task(client.post(script, stream=stream))
    await client.until_open(1)
    asked.cancel()
    await client.until_open(0)
    assert (await client.served())["aborted"] == 1
    last = await client.last()
    assert last["aborted"]
    assert last["tokens"] == NOTHING | {"input": tokens[0], "output": tokens[1]}


async def test_a_reader_that_stops_reading_and_leaves_is_not_charged_for_what_never_left(client: Client) -> None:
    body = json.dumps(message(stream=True, max_tokens=200_000)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1024)
    head = f"POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\nx-simulator: tokens=200000\r\ncontent-length: {len(body)}"
    writer.write(f"{head}\r\n\r\n".encode() + body)
    await reader.readexactly(5000)
    await client.until_open(1)
    writer.transport.abort()
    await client.until_open(0)
    last = await client.last()
    assert last["aborted"]
    assert 0 < last["tokens"]["output"] < 200_000


async def test_streams_may_fail_with_an_error_event_first_or_later(client: Client) -> None:
    first = await client.post("error_first=1", stream=True)
    assert (first.status, first.types) == (200, ["error"])
    assert (await client.last())["tokens"] == NOTHING
    later = await client.post("error_after=2;tokens=9;input_tokens=3", stream=True)
    assert later.types[-1] == "error"
    assert (await client.last())["tokens"] == NOTHING | {"input": 3, "output": 2}


async def test_a_stream_says_the_same_however_it_is_cut_into_pieces(client: Client) -> None:
    whole = await client.post("tokens=9", stream=True)
    for script in ("tokens=9;chunk=1", "tokens=9;chunk=13", "tokens=9;chunk=100000", "tokens=9;crlf=1;chunk=5"):
        answer = await client.post(script, stream=True)
        assert answer.types == whole.types
        assert answer.events[1:] == whole.events[1:]  # the first tells the message's id
        assert (b"\r\n\r\n" in answer.body) == ("crlf" in script)
        assert (await client.last())["tokens"]["output"] == 9


async def test_pieces_reach_over_the_border_between_two_events(client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    body = json.dumps(message(stream=True)).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nx-api-key: a\r\nx-simulator: chunk=100\r\ncontent-length: {len(body)}"
    writer.write(f"{head}\r\n\r\n".encode() + body)
    await reader.readuntil(b"\r\n\r\n")
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    writer.close()
    assert {len(piece) for piece in pieces[:-1]} == {100}
    assert any(b"\n\nevent: " in piece for piece in pieces)
    assert b"".join(pieces).endswith(b'data: {"type":"message_stop"}\n\n')


async def test_events_leave_as_far_apart_as_scripted(client: Client) -> None:
    began_s = time.monotonic()
    answer = await client.post("first_ms=30;tokens=4;gap_ms=10", stream=True)
    assert len(answer.events) == 10
    assert time.monotonic() - began_s >= 0.030 + 9 * 0.009  # a loop may wake a timer one tick of its clock early


async def test_credentials_and_models_that_it_does_not_take(client: Client) -> None:
    for headers, status in (
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "", "authorization": "Bearer "}, 401),
        ({"x-api-key": "", "authorization": "Basic eDp5"}, 401),
        ({"x-api-key": "sim-bad"}, 401),
        ({"x-api-key": "sim-denied"}, 403),
        ({"x-api-key": "", "authorization": "Bearer anything"}, 200),
    ):
        answer = await client.post(headers=headers)
        assert answer.status == status
        if status != 200:
            assert answer.error["type"] == TYPES[status]
    unknown = await client.post(model="unknown-upstream-model")
    assert (unknown.status, unknown.error["type"]) == (404, "not_found_error")
    large = await client.post(system="x" * 5000)
    assert (large.status, large.error["type"]) == (413, "request_too_large")


async def test_who_may_not_ask_is_not_told_what_is_wrong_with_the_question(client: Client) -> None:
    assert (await client.post("speed=9", headers={"x-api-key": "sim-bad"}, messages=[])).status == 401


async def test_what_the_real_api_refuses_is_refused_in_its_shape(client: Client) -> None:
    answer = await client.post(max_tokens=0)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert answer.error["message"].startswith("max_tokens:")
    assert json.loads(answer.body)["request_id"] == answer.headers["request-id"]


async def test_other_paths(client: Client) -> None:
    async with client.session.head("/") as response:
        assert response.status == 200
    assert await client.get("/") == {"name": "simulator"}
    await client.post()
    await client.post()
    for last, count in (("0", 0), ("1", 1), ("9999999", 2), ("x", 2), ("²", 2), ("-1", 2)):
        assert len((await client.get(f"/__served/requests?last={last}"))["requests"]) == count
    async with client.session.get("/v1/nothing") as response:
        assert (response.status, (await response.json())["error"]["type"]) == (404, "not_found_error")
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET //[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
    writer.close()
