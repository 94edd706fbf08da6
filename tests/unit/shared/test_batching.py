"""Unit tests of services.shared.batching: `Decisions` and `answer_stream`, against each other over loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from services.shared import clock, rpc
from services.shared.batching import Decisions, answer_stream
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, auth_pb2_grpc

TIMEOUT_S = 0.4
SWEEP_S = 0.25  # how late the end of a wait may be noticed
SLACK_S = 1.0  # of a machine that others use as well

Request = auth_pb2.AuthDecideRequest
Response = auth_pb2.AuthDecideResponse


@dataclass
class Desk(auth_pb2_grpc.AuthServiceServicer):
    """A service that resolves every key to a principal named after it. Keys that begin with "slow" wait for `release`;
    holds are placed and ended in `holds`."""

    batches: list[Request] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    holds: set[str] = field(default_factory=set)
    settled: list[str] = field(default_factory=list)
    hangs: bool = False

    async def DecideStream(self, request_iterator: AsyncIterator[Request], context: Any) -> None:  # type: ignore[override]  # noqa: N802
        if self.hangs:
            async for _ in request_iterator:
                pass
        await answer_stream(request_iterator, context, self.decide)

    async def Decide(self, request: Request, context: Any) -> Response:  # noqa: N802
        if self.hangs:
            await asyncio.Event().wait()
        response, later = self.decide(request)
        for awaitable in later:
            response.MergeFrom(await awaitable)
        return response

    def decide(self, request: Request) -> tuple[Response, list[Awaitable[Response]]]:
        self.batches.append(request)
        response = Response(sequence=request.sequence)
        later: list[Awaitable[Response]] = []
        for admit in request.admit:
            self.holds.add(admit.hold_id)
            response.admit.add(id=admit.id, grant_id=f"grant of {admit.tenant_id}")
        for settle in request.settle:
            self.holds.discard(settle.hold_id)
            self.settled.append(settle.hold_id)
            response.settle.add(id=settle.id)
        for item in request.resolve:
            if item.key_hash.startswith(b"slow"):
                later.append(self._slowly(item))
            else:
                response.resolve.add(id=item.id, tenant_id=item.key_hash.decode())
        return response, later

    async def _slowly(self, item: auth_pb2.ResolveItem) -> Response:
        await self.release.wait()
        response = Response()
        response.resolve.add(id=item.id, tenant_id=item.key_hash.decode())
        return response


@dataclass
class Place:
    """Where the desk is found: one port, whether the service runs or not."""

    desk: Desk
    port: int = 0
    server: grpc.aio.Server | None = None

    async def open(self) -> None:
        self.server = grpc.aio.server()
        auth_pb2_grpc.add_AuthServiceServicer_to_server(self.desk, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    async def die(self) -> None:
        assert self.server is not None
        await self.server.stop(None)
        self.server = None


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = Place(Desk())  # type: ignore[abstract]  # the other calls are not made
    await place.open()
    yield place
    place.desk.release.set()
    if place.server is not None:
        await place.die()


@asynccontextmanager
async def talking(port: int, timeout_s: float = TIMEOUT_S, **options: Any) -> AsyncIterator[Decisions]:
    channel = rpc.channel(f"127.0.0.1:{port}")
    stub = auth_pb2_grpc.AuthServiceStub(channel)
    decisions = Decisions(
        stub.DecideStream,
        stub.Decide,
        Request,
        ("settle", "admit", "resolve"),
        Kind.AUTH_UNAVAILABLE,
        timeout_s,
        **options,
    )
    decisions.start()
    try:
        yield decisions
    finally:
        await decisions.close(flush_s=0)
        await channel.close()


def resolving(decisions: Decisions, name: str) -> asyncio.Future[auth_pb2.ResolveResult]:
    return decisions.ask("resolve", auth_pb2.ResolveItem(key_hash=name.encode()))


def ending(decisions: Decisions, hold_id: str) -> None:
    decisions.tell("settle", auth_pb2.SettleItem(hold_id=hold_id))


async def eventually(holds: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def answer_or_refusal(asked: asyncio.Future[auth_pb2.ResolveResult]) -> str:
    try:
        return (await asked).tenant_id
    except Refusal as refusal:
        return refusal.kind.label


# ---- questions and answers ----


async def test_many_concurrent_questions_get_their_own_answers(place: Place) -> None:
    async with talking(place.port, timeout_s=5) as decisions:
        for _ in range(3):  # 600 a turn: more than a batch holds
            names = [f"key-{number}" for number in range(600)]
            answers = await asyncio.gather(*[resolving(decisions, name) for name in names])
            assert [answer.tenant_id for answer in answers] == names


async def test_what_is_asked_in_one_turn_goes_in_one_message(place: Place) -> None:
    async with talking(place.port) as decisions:
        await resolving(decisions, "first")  # the stream stands
        place.desk.batches.clear()
        await asyncio.gather(*[resolving(decisions, f"key-{number}") for number in range(20)])
        assert [len(batch.resolve) for batch in place.desk.batches] == [20]


async def test_a_question_alone_waits_for_nobody(place: Place) -> None:
    async with talking(place.port) as decisions:
        await resolving(decisions, "first")
        began_s = clock.monotonic_s()
        for number in range(20):
            await resolving(decisions, f"key-{number}")
        assert clock.monotonic_s() - began_s < SLACK_S
        assert all(len(batch.resolve) == 1 for batch in place.desk.batches)


async def test_slow_questions_do_not_hold_back_fast_ones(place: Place) -> None:
    async with talking(place.port, timeout_s=5) as decisions:
        slow = [resolving(decisions, f"slow-{number}") for number in range(10)]
        fast = [resolving(decisions, f"fast-{number}") for number in range(10)]
        assert [(await asked).tenant_id for asked in fast] == [f"fast-{number}" for number in range(10)]
        assert (await resolving(decisions, "later")).tenant_id == "later"
        assert not any(asked.done() for asked in slow)
        place.desk.release.set()
        assert [(await asked).tenant_id for asked in slow] == [f"slow-{number}" for number in range(10)]


async def test_a_question_nobody_waits_for_any_more_leaves_the_others_alone(place: Place) -> None:
    async with talking(place.port) as decisions:
        given_up = resolving(decisions, "slow-given-up")
        kept = resolving(decisions, "kept")
        given_up.cancel()
        assert (await kept).tenant_id == "kept"
        place.desk.release.set()
        assert (await resolving(decisions, "next")).tenant_id == "next"


async def test_one_slow_question_is_refused_when_its_time_is_over_and_the_stream_goes_on(place: Place) -> None:
    async with talking(place.port) as decisions:
        began_s = clock.monotonic_s()
        slow = resolving(decisions, "slow-for-ever")
        assert (await resolving(decisions, "fast")).tenant_id == "fast"
        with pytest.raises(Refusal) as refused:
            await slow
        assert refused.value.kind is Kind.AUTH_UNAVAILABLE
        assert TIMEOUT_S <= clock.monotonic_s() - began_s < TIMEOUT_S + SWEEP_S + SLACK_S
        assert (await resolving(decisions, "again")).tenant_id == "again"


# ---- what is told ----


async def test_what_is_told_arrives_without_a_question_beside_it(place: Place) -> None:
    async with talking(place.port) as decisions:
        ending(decisions, "hold")
        await eventually(lambda: place.desk.settled == ["hold"])


async def test_what_is_told_in_one_turn_goes_in_one_message(place: Place) -> None:
    async with talking(place.port) as decisions:
        await resolving(decisions, "first")
        place.desk.batches.clear()
        for number in range(20):
            ending(decisions, f"hold-{number}")
        await eventually(lambda: len(place.desk.settled) == 20)
        assert len(place.desk.batches) == 1


async def test_an_item_and_its_ending_go_in_the_same_message(place: Place) -> None:
    async with talking(place.port) as decisions:
        await resolving(decisions, "first")
        place.desk.batches.clear()
        admitted = decisions.ask("admit", auth_pb2.AdmitItem(hold_id="hold", tenant_id="acme"))
        ending(decisions, "hold")
        assert (await admitted).grant_id == "grant of acme"
        await eventually(lambda: place.desk.settled == ["hold"])
        assert [(len(batch.admit), len(batch.settle)) for batch in place.desk.batches] == [(1, 1)]
        assert place.desk.holds == set()


async def test_closing_waits_for_what_was_told(place: Place) -> None:
    async with talking(place.port) as decisions:
        ending(decisions, "hold")
        await decisions.close()
        assert place.desk.settled == ["hold"]


# ---- a service that is not there ----


async def test_without_a_service_questions_are_refused_in_time_and_what_was_told_arrives_later(place: Place) -> None:
    await place.die()
    async with talking(place.port) as decisions:
        began_s = clock.monotonic_s()
        ending(decisions, "told-to-nobody")
        assert await answer_or_refusal(resolving(decisions, "key")) == "auth_unavailable"
        assert clock.monotonic_s() - began_s < TIMEOUT_S + SWEEP_S + SLACK_S
        await place.open()
        await eventually(lambda: "told-to-nobody" in place.desk.settled)
        assert (await resolving(decisions, "key")).tenant_id == "key"


async def test_a_service_that_dies_and_comes_back_leaves_no_waiter_behind(place: Place) -> None:
    told = []
    asked = []
    async with talking(place.port) as decisions:
        for round_ in range(6):
            for number in range(40):
                name = f"{'slow' if number % 4 == 0 else 'fast'}-{round_}-{number}"
                asked.append((name, resolving(decisions, name)))
                told.append(f"hold-{round_}-{number}")
                ending(decisions, told[-1])
                if number % 8 == 0:
                    await asyncio.sleep(0)
            if round_ in (1, 4):
                await asyncio.sleep(0.005)
                await place.die()
            if round_ in (2, 5):
                await place.open()
            await asyncio.sleep(0.02)
        place.desk.release.set()
        async with asyncio.timeout(TIMEOUT_S + SWEEP_S + SLACK_S):
            for name, waiter in asked:
                assert await answer_or_refusal(waiter) in (name, "auth_unavailable")
        await eventually(lambda: set(told) <= set(place.desk.settled))
        assert (await resolving(decisions, "after")).tenant_id == "after"


async def test_what_was_under_way_when_the_stream_broke_is_asked_again(place: Place) -> None:
    async with talking(place.port, timeout_s=5) as decisions:
        waiting = resolving(decisions, "slow-one")
        await resolving(decisions, "fast")
        await place.die()
        place.desk.release.set()
        await place.open()
        assert (await waiting).tenant_id == "slow-one"


async def test_a_service_that_hangs_is_left_for_a_new_stream(place: Place) -> None:
    place.desk.hangs = True
    async with talking(place.port) as decisions:
        began_s = clock.monotonic_s()
        ending(decisions, "hold")
        assert await answer_or_refusal(resolving(decisions, "key")) == "auth_unavailable"
        assert clock.monotonic_s() - began_s < TIMEOUT_S + SWEEP_S + SLACK_S
        place.desk.hangs = False
        await eventually(lambda: "hold" in place.desk.settled)
        assert (await resolving(decisions, "key")).tenant_id == "key"


async def test_one_who_can_ask_elsewhere_hears_at_once_that_a_service_is_gone(place: Place) -> None:
    async with talking(place.port, timeout_s=60, impatient=lambda: True) as decisions:
        assert (await resolving(decisions, "key")).tenant_id == "key"
        assert decisions.up
        waiting = resolving(decisions, "slow-one")
        ending(decisions, "hold")
        await asyncio.sleep(0.05)
        await place.die()
        assert await answer_or_refusal(waiting) == "auth_unavailable"
        assert not decisions.up


async def test_a_service_that_is_back_says_so_without_being_asked(place: Place) -> None:
    back = asyncio.Event()
    async with talking(place.port, opened=back.set) as decisions:
        assert (await resolving(decisions, "key")).tenant_id == "key"
        assert not back.is_set()
        await place.die()
        await eventually(lambda: not decisions.up)
        await place.open()
        await asyncio.wait_for(back.wait(), 10)
        assert decisions.up


@pytest.mark.timeout(20)
def test_a_process_that_ends_without_closing_its_streams_ends_all_the_same() -> None:
    left_open: list[grpc.aio.Channel] = []

    async def main() -> None:
        stub = auth_pb2_grpc.AuthServiceStub(channel := rpc.channel(f"127.0.0.1:{silent.getsockname()[1]}"))
        decisions = Decisions(stub.DecideStream, stub.Decide, Request, ("admit",), Kind.AUTH_UNAVAILABLE, TIMEOUT_S)
        decisions.start()
        await asyncio.sleep(0.02)
        left_open.append(channel)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(main())


# ---- the side of the service, its stream in hand ----


class Pipe:
    """The context of a stream that notices overlapping writes, which grpc.aio does not survive."""

    def __init__(self) -> None:
        self.written: list[Response] = []
        self._writing = False

    async def write(self, response: Response) -> None:
        assert not self._writing
        self._writing = True
        await asyncio.sleep(0)
        self._writing = False
        self.written.append(response)


async def test_the_service_never_writes_twice_at_once() -> None:
    desk, pipe, done = Desk(), Pipe(), asyncio.Event()  # type: ignore[abstract]

    async def requests() -> AsyncIterator[Request]:
        for number in range(1, 51):
            items = [auth_pb2.ResolveItem(id=number, key_hash=b"slow"), auth_pb2.ResolveItem(id=100 + number)]
            yield Request(sequence=number, resolve=items)
            if number == 25:
                desk.release.set()
        await done.wait()

    answering = asyncio.create_task(answer_stream(requests(), pipe, desk.decide))
    await eventually(lambda: len(pipe.written) == 100)
    done.set()
    await answering
    assert [response.sequence for response in pipe.written if response.sequence] == list(range(1, 51))
    later = [result.id for response in pipe.written if not response.sequence for result in response.resolve]
    assert sorted(later) == list(range(1, 51))


async def test_what_comes_later_is_given_up_when_the_stream_ends() -> None:
    given_up = asyncio.Event()

    async def never() -> Response:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    async def requests() -> AsyncIterator[Request]:
        yield Request(sequence=1)
        await asyncio.sleep(0.01)

    pipe = Pipe()
    await answer_stream(requests(), pipe, lambda request: (Response(sequence=request.sequence), [never()]))
    await asyncio.wait_for(given_up.wait(), 10)
    assert [response.sequence for response in pipe.written] == [1]


async def test_under_load_questions_gather_and_alone_they_wait_for_nobody(place: Place) -> None:
    async with talking(place.port) as decisions:
        for number in range(3):
            await resolving(decisions, "alone")
            assert len(place.desk.batches) == number + 1
        place.desk.batches.clear()

        async def busy(number: int) -> None:
            for _ in range(20):
                await resolving(decisions, f"k{number}")

        await asyncio.gather(*(busy(number) for number in range(16)))
        assert sum(len(batch.resolve) for batch in place.desk.batches) == 320
        assert len(place.desk.batches) <= 60


async def test_whoever_waits_when_a_conversation_is_closed_is_refused(place: Place) -> None:
    async with talking(place.port, timeout_s=60) as decisions:
        assert (await resolving(decisions, "key")).tenant_id == "key"
        waiting = resolving(decisions, "slow-one")
        await asyncio.sleep(0.05)
        await decisions.close(flush_s=0)
        assert await asyncio.wait_for(answer_or_refusal(waiting), 10) == "auth_unavailable"


async def test_what_nobody_waits_for_any_more_is_not_asked_again(place: Place) -> None:
    async with talking(place.port) as decisions:
        assert (await resolving(decisions, "key")).tenant_id == "key"
        await place.die()
        await eventually(lambda: not decisions.up)
        given_up, wanted = resolving(decisions, "given-up"), resolving(decisions, "wanted")
        given_up.cancel()
        await place.open()
        assert (await wanted).tenant_id == "wanted"
        assert b"given-up" not in [item.key_hash for batch in place.desk.batches for item in batch.resolve]
