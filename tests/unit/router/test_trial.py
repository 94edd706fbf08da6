"""Unit tests of services.router.trial."""

import asyncio
from dataclasses import replace
from types import MappingProxyType

import pytest

from services.router import trial
from services.router.accounts import NO_LIMITS, Account
from services.router.kinds import KINDS

ACCOUNT = Account(
    upstream_account_id="acc_1",
    name="a",
    kind="anthropic",
    base_url="https://upstream.example",
    credential="sk-secret",
    models=MappingProxyType({"m": "theirs"}),
    priority=1,
    enabled=True,
    created_ms=0,
    pool="default",
    weight=100,
    headers={"x-team": "red"},
    proxy="",
    limits=NO_LIMITS,
    resale_allowed=False,
    note="",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_asked_for_a_few_tokens_in_its_own_api(kind: str) -> None:
    url, headers, body = trial.request(replace(ACCOUNT, kind=kind), "theirs")
    assert url.startswith("https://upstream.example/")
    assert body["model"] == "theirs"
    assert max(body.get("max_tokens", 0), body.get("max_completion_tokens", 0)) == 16
    assert "sk-secret" in (headers.get("x-api-key", ""), headers.get("authorization", "").removeprefix("Bearer "))
    assert headers["x-team"] == "red"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"error": {"type": "x", "message": "no credit"}}', "no credit"),
        (b'{"error": "gone"}', "gone"),
        (b"<html>\n502</html>", "<html> 502</html>"),
        (b'{"error": {"message": "bad key sk-secret"}}', "bad key (credential)"),
        (b"[]", "an answer without a message"),
    ],
)
def test_a_complaint_is_the_upstreams_own_without_the_credential(answer: bytes, said: str) -> None:
    assert trial.complaint(answer, "sk-secret") == said


async def test_an_upstream_that_cannot_be_reached_is_told_not_raised() -> None:
    found = await trial.run(replace(ACCOUNT, base_url="http://127.0.0.1:1"), "m", private=True)
    assert (found.ok, found.http_status) == (False, 0)
    assert "no answer" in found.message


async def test_nothing_is_said_to_a_private_address_or_through_a_proxy_on_one() -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        here = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        by_name = here.replace("127.0.0.1", "localhost")
        for account in (
            replace(ACCOUNT, base_url=here),
            replace(ACCOUNT, base_url=by_name),
            replace(ACCOUNT, proxy=here, base_url="http://upstream.example"),
        ):
            found = await trial.run(account, "m", private=False)
            assert (found.ok, found.http_status) == (False, 0)
            assert "not of the open internet" in found.message
    assert not heard
