"""Unit tests of services.edge.hold."""

import asyncio
from typing import Any, cast

import pytest

from services.edge.hold import Hold
from services.edge.replicas import Replica
from services.shared.errors import Kind, Refusal, to_detail
from tollhouse.v1 import auth_pb2

NEVER = 1 << 60


class Auth:
    """The port to auth: what was asked, and answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[auth_pb2.ExtendItem] = []
        self.futures: list[asyncio.Future[auth_pb2.ExtendResult]] = []

    def ask(self, field: str, item: Any) -> asyncio.Future[auth_pb2.ExtendResult]:
        assert field == "extend"
        self.asked.append(item)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    async def grant(self, held_nano: int = 1) -> None:
        self.futures[-1].set_result(auth_pb2.ExtendResult(held_nano=held_nano))
        await asyncio.sleep(0)

    async def refuse(self, kind: Kind = Kind.BALANCE_EXHAUSTED) -> None:
        self.futures[-1].set_result(auth_pb2.ExtendResult(error=to_detail(Refusal(kind, "no"))))
        await asyncio.sleep(0)


def hold_of(auth: Auth, output_tokens: int = 1000, most: int = 64_000, patience_s: float = 5.0) -> Hold:
    hold = Hold(cast(Replica, auth), "req_1", "acme", 10, output_tokens, most, 1000, patience_s)
    hold.placed(auth_pb2.AdmitResult(grant_id="g", key_grant_id="k", price_version=3, multiplier_ppm=7, held_nano=50))
    return hold


async def test_a_hold_knows_what_auth_said_of_it() -> None:
    hold = hold_of(Auth())
    said = (hold.grant_id, hold.key_grant_id, hold.price_version, hold.multiplier_ppm, hold.held_nano)
    assert said == ("g", "k", 3, 7, 50)
    hold.moved(auth_pb2.RenewResult(grant_id="g2"))
    assert (hold.grant_id, hold.key_grant_id) == ("g2", "")
    hold.moved(auth_pb2.RenewResult())
    assert hold.grant_id == "g2"


async def test_a_hold_of_the_worst_case_asks_for_nothing() -> None:
    assert hold_of(Auth(), 64_000, 64_000).ask_at > NEVER


async def test_more_is_asked_for_well_before_the_hold_is_used_up_and_nobody_waits_for_it() -> None:
    auth = Auth()
    hold = hold_of(auth)
    assert hold.ask_at == 500
    assert await hold.follow(500) is None
    assert [item.output_tokens for item in auth.asked] == [2000]
    assert (auth.asked[0].hold_id, auth.asked[0].tenant_id) == ("req_1", "acme")
    assert hold.ask_at == 1000  # while the answer is on its way
    await auth.grant(held_nano=99)
    assert (hold.output_tokens, hold.held_nano, hold.ask_at) == (2000, 99, 1000)


async def test_a_hold_never_grows_beyond_what_the_request_may_produce() -> None:
    auth = Auth()
    hold = hold_of(auth, 1000, 1500)
    await hold.follow(500)
    assert auth.asked[0].output_tokens == 1500
    await auth.grant()
    assert hold.ask_at > NEVER
    assert await hold.follow(9999) is None  # an estimate may overshoot


async def test_a_stream_whose_hold_is_used_up_waits_for_the_answer() -> None:
    auth = Auth()
    hold = hold_of(auth)
    await hold.follow(500)
    following = asyncio.create_task(hold.follow(1000))
    await asyncio.sleep(0.01)
    assert not following.done()
    await auth.grant()
    assert await following is None


async def test_a_stream_ends_where_its_hold_ends_when_there_is_no_more_credit() -> None:
    auth = Auth()
    hold = hold_of(auth)
    await hold.follow(500)
    await auth.refuse()
    assert (hold.output_tokens, hold.ask_at) == (1000, 750)  # it stands, and there may be a top-up until then
    await hold.follow(750)
    await auth.refuse(Kind.KEY_CAP_EXHAUSTED)
    following = asyncio.create_task(hold.follow(1001))
    await asyncio.sleep(0)
    await auth.refuse(Kind.KEY_CAP_EXHAUSTED)
    refusal = await following
    assert refusal is not None
    assert refusal.kind is Kind.KEY_CAP_EXHAUSTED
    assert len(auth.asked) == 3


async def test_a_top_up_in_time_lets_the_stream_go_on() -> None:
    auth = Auth()
    hold = hold_of(auth)
    await hold.follow(500)
    await auth.refuse()
    await hold.follow(800)
    await auth.grant()
    assert hold.output_tokens == 2000


async def test_an_auth_that_is_away_is_asked_again_for_a_while() -> None:
    auth = Auth()
    hold = hold_of(auth)
    following = asyncio.create_task(hold.follow(1000))
    await asyncio.sleep(0)
    auth.futures[-1].set_exception(Refusal(Kind.AUTH_UNAVAILABLE, "away"))
    while len(auth.asked) < 2:
        await asyncio.sleep(0.01)
    await auth.grant()
    assert await following is None


async def test_nobody_works_for_free_while_auth_is_away() -> None:
    auth = Auth()
    hold = hold_of(auth, patience_s=0.0)
    following = asyncio.create_task(hold.follow(1000))
    await asyncio.sleep(0.001)
    await auth.refuse(Kind.AUTH_UNAVAILABLE)
    refusal = await following
    assert refusal is not None
    assert refusal.kind is Kind.AUTH_UNAVAILABLE


@pytest.mark.parametrize("produced", [500, 900])
async def test_what_is_asked_for_is_ahead_of_what_was_produced(produced: int) -> None:
    auth = Auth()
    await hold_of(auth, 1000).follow(produced)
    assert auth.asked[0].output_tokens >= produced + 1000


async def test_what_cannot_be_seen_is_held_for_beside_what_can() -> None:
    auth = Auth()
    hold = Hold(cast(Replica, auth), "req_1", "acme", 10, 11_000, 64_000, 1000, 5.0, 10_000)
    hold.placed(auth_pb2.AdmitResult(grant_id="g"))
    assert hold.ask_at == 500
    assert await hold.follow(600) is None
    assert auth.asked[-1].output_tokens == 12_000
    await auth.grant()
    assert hold.ask_at == 1_000
    following = asyncio.create_task(hold.follow(2_000))
    await asyncio.sleep(0)
    assert not following.done()
    await auth.refuse()
    refused = await asyncio.wait_for(following, 10)
    assert refused is not None
    assert refused.kind is Kind.BALANCE_EXHAUSTED
