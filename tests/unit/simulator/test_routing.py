"""What tests of routing need of the simulator: accounts that behave, limits that are told, faults as the real API has
them."""

import hashlib
import json
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.unit.simulator.client import CREDENTIAL, Client

OTHER = {"x-api-key": "sim-other"}


async def test_requests_follow_the_behaviour_of_their_credential_until_it_ends(client: Client) -> None:
    assert await client.behave(CREDENTIAL, "status=529; message=busy") == 200
    assert [(await client.post()).status, (await client.post(headers=OTHER)).status] == [529, 200]
    assert await client.behave(CREDENTIAL, "status=401") == 200
    assert (await client.post()).status == 401
    async with client.session.delete(f"/__behaviour/{CREDENTIAL}") as response:
        assert response.status == 200
    assert (await client.post()).status == 200


async def test_a_requests_own_script_counts_instead_where_it_is_for_it(client: Client) -> None:
    await client.behave(CREDENTIAL, "status=529")
    assert (await client.post("tokens=3")).status == 200
    assert (await client.post("status=500;only_credential=sim-other")).status == 529
    assert [(await client.post("status=500;id=a;times=1")).status for _ in range(2)] == [500, 529]


async def test_a_behaviour_may_be_for_the_first_requests_only(client: Client) -> None:
    await client.behave(CREDENTIAL, "status=500;id=a;times=2")
    assert [(await client.post()).status for _ in range(3)] == [500, 500, 200]


async def test_a_credential_in_the_path_is_decoded_and_a_behaviour_that_cannot_be_read_is_refused(
    client: Client,
) -> None:
    assert await client.behave("a%20b%2Fc", "status=529") == 200
    assert (await client.post(headers={"x-api-key": "a b/c"})).status == 529
    assert await client.behave(CREDENTIAL, "speed=9") == 400
    assert await client.behave("", "status=500") == 404
    assert (await client.post()).status == 200


async def test_requests_are_counted_by_credential_and_no_secret_is_shown(client: Client) -> None:
    await client.post()
    await client.post("status=500")
    await client.post(headers={"x-api-key": "top-secret"})
    await client.post(headers={"x-api-key": "sim-bad"})
    secret = hashlib.sha256(b"top-secret").hexdigest()
    assert (await client.served())["by_credential"] == {CREDENTIAL: 2, secret: 1, "sim-bad": 1}


async def test_the_upstreams_limits_are_told_as_scripted(client: Client) -> None:
    headers = (await client.post("rl_limit=50;rl_remaining=0;rl_reset_s=7;unified_reset_s=18000")).headers
    now_s = time.time()
    assert headers["anthropic-ratelimit-requests-limit"] == "50"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
    assert 5 <= reset.timestamp() - now_s <= 7
    assert 17_998 <= int(headers["anthropic-ratelimit-unified-reset"]) - now_s <= 18_000
    assert (await client.post("rl_limit=9")).headers["anthropic-ratelimit-requests-remaining"] == "8"


async def test_an_answer_may_tell_no_limits(client: Client) -> None:
    headers = (await client.post("status=429;rl_limit=0")).headers
    assert not [name for name in headers if "ratelimit" in name.lower() or name.lower() == "retry-after"]


async def test_retry_after_may_be_a_date_and_is_never_too_early(client: Client) -> None:
    asked = time.time()
    date = (await client.post("status=429;retry_after=5;retry_after_date=1")).headers["retry-after"]
    assert date.endswith(" GMT")
    assert 5 <= (parsedate_to_datetime(date) - datetime.fromtimestamp(asked, UTC)).total_seconds() <= 6.5


@pytest.mark.parametrize("stream", [False, True])
async def test_an_account_without_credit_is_told_as_the_real_api_tells_it(client: Client, stream: bool) -> None:
    answer = await client.post("error=credit", stream=stream)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert answer.error["message"].startswith("Your credit balance is too low to access the Anthropic API")


def thoughtful(block: dict[str, Any]) -> list[dict[str, Any]]:
    said = {"role": "assistant", "content": [block, {"type": "text", "text": "so"}]}
    return [{"role": "user", "content": "think"}, said, {"role": "user", "content": "on"}]


async def thought(client: Client, stream: bool) -> dict[str, Any]:
    """The thinking block of an answer."""
    answer = await client.post("thinking=3", stream=stream)
    if not stream:
        return json.loads(answer.body)["content"][0]  # type: ignore[no-any-return]
    block = {"type": "thinking", "thinking": "", "signature": ""}
    for event in answer.events:
        delta = event.get("delta", {})
        block["thinking"] += delta.get("thinking", "")
        block["signature"] += delta.get("signature", "")
    return block


@pytest.mark.parametrize("stream", [False, True])
async def test_a_thinking_block_comes_back_only_with_the_signature_it_was_given(client: Client, stream: bool) -> None:
    block = await thought(client, stream)
    assert (await client.post(messages=thoughtful(block), stream=stream)).status == 200
    for forged in (block | {"signature": "AAAA"}, block | {"thinking": "other"}, {"type": "thinking"}):
        answer = await client.post(messages=thoughtful(forged), stream=stream)
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
        assert answer.error["message"] == "messages.1.content.0: Invalid `signature` in `thinking` block"


async def test_an_account_may_take_no_signature_but_what_holds_none(client: Client) -> None:
    block = await thought(client, False)
    await client.behave(CREDENTIAL, "error=signature")
    assert (await client.post(messages=thoughtful(block))).status == 400
    assert (await client.post()).status == 200


@pytest.mark.parametrize("script", ["error_first=1", "error_after=2"])
async def test_the_error_of_a_stream_may_be_of_any_type(client: Client, script: str) -> None:
    answer = await client.post(f"{script};error_type=rate_limit_error;message=slower", stream=True)
    assert answer.events[-1]["error"] == {"type": "rate_limit_error", "message": "slower"}


@pytest.mark.parametrize("gap_ms", [0, 1])
async def test_a_stream_may_be_silent_before_its_content(client: Client, gap_ms: int) -> None:
    asked: Any = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"x-api-key": CREDENTIAL, "x-simulator": f"tokens=2;first_content_ms=60;gap_ms={gap_ms}"}
    async with client.session.post("/v1/messages", json=asked, headers=headers) as response:
        first = await response.content.readuntil(b"\n\n")
        began_s = time.monotonic()
        second = await response.content.readuntil(b"\n\n")
        assert (b"message_start" in first, b"content_block_start" in second) == (True, True)
        assert time.monotonic() - began_s >= 0.055
        assert (await response.content.read()).endswith(b'{"type":"message_stop"}\n\n')
