"""Bad upstream accounts, kept from clients: what `POST /v1/messages` does with five accounts of which four are bad,
with replicas that die, and with conversations. Accounts are of the kind `anthropic`, but the simulator plays them: what
scripted faults do to an account of the kind `simulator` is the caller's own doing, and cools nothing."""

import asyncio
import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.deployment import Deployment, Tenant, deployed, eventually, message, request, sha256
from tollhouse.v1 import billing_pb2, router_pb2

CLIENTS = 24
FIRST_BYTE_MS = 1_000


def put_accounts(tollhouse: Deployment, model: str, *names: str, **fields: Any) -> None:
    """Accounts that the simulator plays, each with a credential of its own; a price for their model."""
    for name in names:
        account = router_pb2.UpstreamAccount(
            name=f"{model}-{name}",
            kind=router_pb2.UPSTREAM_KIND_ANTHROPIC,
            base_url=tollhouse.simulator_url,
            models={model: "claude-sonnet-4-6"},
            enabled=True,
            **fields,
        )
        credential = name if name.startswith("sim-") else f"sim-{model}-{name}"
        tollhouse.router.PutUpstreamAccount(
            router_pb2.PutUpstreamAccountRequest(account=account, credential=credential)
        )
    price = billing_pb2.Price(model=model, input_pico=3_000_000, output_pico=15_000_000)
    tollhouse.billing.SetPrice(billing_pb2.SetPriceRequest(price=price, actor="test"))
    eventually(lambda: all(known(tollhouse, model) for _ in range(8)), what=f"every edge knows {model}")


def known(tollhouse: Deployment, model: str) -> bool:
    """Whether the edge that happens to answer knows a model; until then it knows no time limits for it either."""
    return tollhouse.call("GET", f"/v1/models/{model}", {"x-api-key": tollhouse.key}).status == 200


def hurry(tollhouse: Deployment, model: str, first_byte_ms: int = FIRST_BYTE_MS) -> None:
    """A model that must begin to answer soon."""
    times = router_pb2.ModelTimes(first_byte_ms=first_byte_ms, idle_ms=first_byte_ms)
    tollhouse.router.PutModel(router_pb2.PutModelRequest(model=router_pb2.Model(model=model, times=times)))


def behave(tollhouse: Deployment, credential: str, script: str) -> None:
    """All that comes with this credential is answered by the script."""
    answer = request(tollhouse.simulator_url, "PUT", f"/__behaviour/{credential}", body=script.encode())
    assert answer.status == 200, answer.body


def account_of(tollhouse: Deployment, name: str) -> router_pb2.UpstreamAccount:
    listed = tollhouse.router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest()).accounts
    return next(account for account in listed if account.name == name)


def begun_by(tollhouse: Deployment, credential: str) -> int:
    """How many requests the simulator got with a credential."""
    counted: dict[str, int] = tollhouse.served()["by_credential"]
    return counted.get(credential, counted.get(hashlib.sha256(credential.encode()).hexdigest(), 0))


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a connection each, so that all edges get some
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


async def ask(
    session: aiohttp.ClientSession, tollhouse: Deployment, tenant: Tenant, **fields: Any
) -> tuple[str, dict[str, Any]]:
    """One request; how it ended: its status, or "cut" for a stream that ended with an error event."""
    headers = {"x-api-key": tenant.key, "anthropic-version": "2023-06-01"}
    body = json.dumps(message(**fields))
    async with session.post(f"{tollhouse.base_url}/v1/messages", data=body, headers=headers) as response:
        text = await response.text()
        cut = fields.get("stream") and "event: error" in text
        headers = {name.lower(): value for name, value in response.headers.items()}
        return "cut" if cut else str(response.status), headers


async def many(requests: int, one: Callable[[int], Awaitable[str]], clients: int = CLIENTS) -> Counter[str]:
    """Makes requests from several clients at once, and counts how they ended."""
    numbers, ended = iter(range(requests)), Counter[str]()

    async def go_on() -> None:
        for number in numbers:
            ended[await one(number)] += 1

    await asyncio.gather(*(go_on() for _ in range(clients)))
    return ended


async def test_four_bad_accounts_of_five_cost_an_attempt_each_and_clients_notice_none(fleet: Deployment) -> None:
    model, tenant = "five", fleet.tenant(dollars=100)
    hurry(fleet, model)
    put_accounts(fleet, model, "good")
    assert (await asyncio.to_thread(fleet.messages, tenant.key, model=model)).status == 200
    put_accounts(fleet, model, "throttled", "hanging", "cutting", "sim-denied")
    behave(fleet, "sim-five-throttled", "status=429;retry_after=60")
    behave(fleet, "sim-five-hanging", "hang=before")
    behave(fleet, "sim-five-cutting", "cut_after=8;tokens=30")
    bad = ("sim-five-throttled", "sim-five-hanging", "sim-five-cutting", "sim-denied")

    async with client() as session:

        async def one(number: int) -> str:
            said = [{"role": "user", "content": f"question {number}"}]
            ended, _ = await ask(session, fleet, tenant, model=model, messages=said, stream=number % 2 == 0)
            return ended

        began_s = time.monotonic()
        first = await many(40, one, clients=1)  # nothing is known of the new accounts yet: they are tried one by one
        assert all(begun_by(fleet, credential) for credential in bad)
        ended = first + await many(2_000, one)
        took_s = time.monotonic() - began_s
    assert set(ended) <= {"200", "cut"}, ended
    # Cooldowns double from 5 s on: so many may have ended, and each cost one attempt.
    cooldowns = 1 + sum(1 for end_s in (5, 15, 35, 75, 155) if end_s < took_s + 2)
    assert begun_by(fleet, "sim-denied") == 1
    assert begun_by(fleet, "sim-five-throttled") <= 1 + int(took_s / 60)
    assert 1 <= begun_by(fleet, "sim-five-hanging") <= cooldowns
    assert 1 <= begun_by(fleet, "sim-five-cutting") <= cooldowns
    assert ended["cut"] <= cooldowns
    causes = {
        name: account_of(fleet, f"five-{name}").health[0].cause
        for name in ("throttled", "hanging", "cutting", "sim-denied")
    }
    assert causes == {
        "throttled": router_pb2.CAUSE_THROTTLED,
        "hanging": router_pb2.CAUSE_FAILING,
        "cutting": router_pb2.CAUSE_FAILING,
        "sim-denied": router_pb2.CAUSE_REFUSED,
    }


async def test_turns_of_a_conversation_stay_with_one_account_and_only_those_of_a_bad_one_move(
    fleet: Deployment,
) -> None:
    model, tenant, conversations = "turns", fleet.tenant(dollars=100), 200
    names = ["a", "b", "c", "d", "e"]
    put_accounts(fleet, model, *names)
    answered: dict[int, list[str]] = {number: [] for number in range(conversations)}

    async def asked_again(session: aiohttp.ClientSession, turns: int) -> dict[int, list[str]]:
        """Takes every conversation so many turns on, and answers by whose credentials."""
        asked = len(answered[0])

        async def turn(number: int) -> str:
            conversation, before = number % conversations, asked + number // conversations
            said: list[dict[str, str]] = [{"role": "user", "content": f"conversation {conversation}"}]
            for answer in range(before):
                said += [{"role": "assistant", "content": "ok"}, {"role": "user", "content": f"and {answer}?"}]
            ended, headers = await ask(session, fleet, tenant, model=model, messages=said)
            answered[conversation].append(headers["request-id"])
            return ended

        assert set(await many(conversations * turns, turn, clients=8)) == {"200"}
        used = credentials_used(fleet)
        return {number: [used[one] for one in answers[asked:]] for number, answers in answered.items()}

    async with client() as session:
        where = await asked_again(session, 4)
        stayed = sum(len(set(accounts)) == 1 for accounts in where.values())
        assert stayed >= 0.99 * conversations
        load = Counter(accounts[0] for accounts in where.values())
        assert set(load) == {sha256(f"sim-turns-{name}".encode()) for name in names}
        assert max(load.values()) <= 1.25 * conversations / len(names)

        behave(fleet, "sim-turns-c", "status=429;retry_after=60")
        later = await asked_again(session, 2)
    moved = {number for number, accounts in where.items() if accounts[-1] != later[number][-1]}
    assert moved == {number for number, accounts in where.items() if accounts[-1] == sha256(b"sim-turns-c")}


def credentials_used(tollhouse: Deployment) -> dict[str, str]:
    """The digests of the credentials that the simulator's latest answers were asked for with, by their `request-id`."""
    listed = request(tollhouse.simulator_url, "GET", "/__served/requests?last=1000").json()["requests"]
    return {entry["request_id"]: dict(entry["headers"])["x-api-key"] for entry in listed}


async def test_when_every_account_is_throttled_the_client_is_told_until_when(fleet: Deployment) -> None:
    model, tenant = "throttled", fleet.tenant()
    put_accounts(fleet, model, "a", "b")
    behave(fleet, "sim-throttled-a", "status=429;retry_after=50")
    behave(fleet, "sim-throttled-b", "status=429;retry_after=30")
    answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model)
    assert answer.status == 429
    assert 29 <= int(answer.headers["retry-after"]) <= 30
    assert answer.json()["error"]["type"] == "rate_limit_error"
    again = await asyncio.to_thread(fleet.messages, tenant.key, model=model)
    assert again.status == 429
    assert int(again.headers["retry-after-ms"]) < int(answer.headers["retry-after-ms"]) + 1
    assert (begun_by(fleet, "sim-throttled-a"), begun_by(fleet, "sim-throttled-b")) == (1, 1)


async def test_when_every_account_is_overloaded_the_client_is_told_so(fleet: Deployment) -> None:
    model, tenant = "overloaded", fleet.tenant()
    put_accounts(fleet, model, "a", "b")
    for name in ("a", "b"):
        behave(fleet, f"sim-overloaded-{name}", "status=529")
    for _ in range(3):
        answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model)
        assert (answer.status, answer.json()["error"]["type"]) == (529, "overloaded_error")
    # The last healthy one is not benched: it answers as soon as it can.
    for name in ("a", "b"):
        request(fleet.simulator_url, "DELETE", f"/__behaviour/sim-overloaded-{name}")
    answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model)
    assert answer.status == 200


async def test_an_account_that_is_free_again_soon_is_waited_for(fleet: Deployment) -> None:
    model, tenant = "soon", fleet.tenant()
    put_accounts(fleet, model, "a")
    assert (await asyncio.to_thread(fleet.messages, tenant.key, model=model)).status == 200
    behave(fleet, "sim-soon-a", "status=429;retry_after=1;times=1;id=soon")
    answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model)
    assert answer.status == 429  # it was tried, and may not be tried again
    answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model)
    assert answer.status == 200


async def test_a_new_credential_ends_a_refusal_and_an_operator_ends_any_cooldown(fleet: Deployment) -> None:
    model, tenant = "refused", fleet.tenant()
    put_accounts(fleet, model, "sim-denied")
    name = "refused-sim-denied"
    answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model)
    assert answer.status == 502
    answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model)
    assert answer.status == 503
    fleet.router.SetUpstreamCredential(router_pb2.SetUpstreamCredentialRequest(name=name, credential="sim-refused-new"))
    await asyncio.to_thread(
        lambda: eventually(lambda: fleet.messages(tenant.key, model=model).status == 200, what="the new credential")
    )
    behave(fleet, "sim-refused-new", "status=429;retry_after=600;times=1;id=refused")
    await asyncio.to_thread(fleet.messages, tenant.key, model=model)
    assert account_of(fleet, name).health[0].state == router_pb2.AccountHealth.STATE_COOLING
    fleet.router.ClearUpstreamAccount(router_pb2.ClearUpstreamAccountRequest(name=name))
    await asyncio.to_thread(
        lambda: eventually(lambda: fleet.messages(tenant.key, model=model).status == 200, what="cleared")
    )


async def test_an_error_event_before_content_is_tried_elsewhere_and_one_after_it_is_not(fleet: Deployment) -> None:
    model, tenant = "early", fleet.tenant()
    put_accounts(fleet, model, "first", priority=1)
    put_accounts(fleet, model, "second", priority=2)
    async with client() as session:
        for script, expected in (
            ("error_first=1", "200"),
            ("cut_after=1", "200"),
            ("cut_after=0", "200"),
            ("error_after=2;tokens=9", "cut"),
        ):
            behave(fleet, "sim-early-first", script)
            fleet.router.ClearUpstreamAccount(router_pb2.ClearUpstreamAccountRequest(name="early-first"))
            await asyncio.sleep(0.2)
            before = begun_by(fleet, "sim-early-first")
            ended, _ = await ask(session, fleet, tenant, model=model, stream=True)
            assert (script, ended) == (script, expected)
            assert begun_by(fleet, "sim-early-first") == before + 1


async def test_a_silent_stream_is_kept_alive_and_a_hung_one_ends(tmp_path: Path) -> None:
    with deployed(tmp_path / "state", TOLLHOUSE_EDGE_KEEP_ALIVE_S="0.4") as tollhouse:
        tenant = tollhouse.tenant()
        headers = {"x-api-key": tenant.key, "x-simulator": "first_ms=1500;tokens=3"}
        body = json.dumps(message(stream=True)).encode()
        answer = await asyncio.to_thread(tollhouse.call, "POST", "/v1/messages", headers, body)
        events = [line for line in answer.body.decode().split("\n") if line.startswith("event: ")]
        assert answer.status == 200
        assert events[:2] == ["event: ping", "event: ping"]
        assert events[-1] == "event: message_stop"
        assert events.count("event: message_start") == 1

        hurry(tollhouse, "hung", 700)
        put_accounts(tollhouse, "hung", "a", "b")
        for name in ("a", "b"):
            behave(tollhouse, f"sim-hung-{name}", "hang=before")
        plain = await asyncio.to_thread(tollhouse.messages, tenant.key, model="hung")
        assert (plain.status, plain.json()["error"]["type"]) == (504, "timeout_error")
        for name in ("a", "b"):
            cleared = router_pb2.ClearUpstreamAccountRequest(name=f"hung-{name}")
            tollhouse.router.ClearUpstreamAccount(cleared)
        await asyncio.sleep(0.2)
        streamed = await asyncio.to_thread(tollhouse.messages, tenant.key, model="hung", stream=True)
        assert streamed.status == 200  # a ping began the answer
        assert b"event: ping" in streamed.body
        assert b"timeout_error" in streamed.body.split(b"event: error")[1]


async def test_thinking_that_another_account_signed_is_left_out_once(fleet: Deployment) -> None:
    model, tenant = "signed", fleet.tenant()
    put_accounts(fleet, model, "a")
    said = [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "of somebody else"},
                {"type": "text", "text": "hello"},
            ],
        },
        {"role": "user", "content": "go on"},
    ]
    answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model, messages=said)
    assert answer.status == 200, answer.body
    assert begun_by(fleet, "sim-signed-a") == 2


async def test_killed_replicas_cost_no_request_but_those_on_a_killed_edge(tmp_path: Path) -> None:
    options = ("--edges", "3", "--auths", "2", "--routers", "2")
    with deployed(tmp_path / "state", *options, TOLLHOUSE_EDGE_HOLD_RENEW_S="1") as tollhouse:
        tenants = [tollhouse.tenant(dollars=50) for _ in range(6)]
        stop_s = time.monotonic() + 8
        ended: Counter[str] = Counter()

        async with client() as session:

            async def one(number: int) -> None:
                try:
                    how, _ = await ask(session, tollhouse, tenants[number % 6])
                except aiohttp.ClientError as error:
                    how = type(error).__name__
                ended[how] += 1

            async def load() -> None:
                async with asyncio.TaskGroup() as group:
                    for number in itertools.count():
                        if time.monotonic() > stop_s:
                            return
                        group.create_task(one(number))
                        await asyncio.sleep(0.01)

            loading = asyncio.create_task(load())
            for part in ("router", "auth"):
                await asyncio.sleep(1.5)
                kill_one(tollhouse, part)
            await asyncio.sleep(1.5)
            before = ended.total()
            kill_one(tollhouse, "edge")
            await loading
    broken = ended.total() - ended["200"]
    assert ended["200"] > before
    assert set(ended) <= {"200", "ServerDisconnectedError", "ClientOSError", "ClientConnectorError"}, ended
    assert broken <= 12, ended  # what was in flight on the killed edge, or waited to be accepted by it


def kill_one(tollhouse: Deployment, part: str) -> None:
    import os
    import signal

    os.kill(tollhouse.pids(part)[0], signal.SIGKILL)


async def test_a_stream_that_takes_too_long_altogether_ends_and_its_account_is_not_blamed(fleet: Deployment) -> None:
    model, tenant = "long", fleet.tenant()
    times = router_pb2.ModelTimes(total_ms=1500)
    fleet.router.PutModel(router_pb2.PutModelRequest(model=router_pb2.Model(model=model, times=times)))
    put_accounts(fleet, model, "a")
    behave(fleet, "sim-long-a", "gap_ms=50;tokens=190")
    began_s = time.monotonic()
    answer = await asyncio.to_thread(fleet.messages, tenant.key, model=model, stream=True)
    assert 1 < time.monotonic() - began_s < 6
    assert answer.status == 200
    assert b"event: error" in answer.body
    assert b"longer than it may" in answer.body
    health = account_of(fleet, "long-a").health
    assert [known.state for known in health] == [router_pb2.AccountHealth.STATE_READY]
