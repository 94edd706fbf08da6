"""Micro-batched decisions over one long-lived bidirectional gRPC stream.

The client side (`Decisions`) collects what requests ask while a batch is under way or in one turn of the event loop,
and sends it as one message: alone a question goes out at once, under load a message carries many. At most one batch
is in flight; its response, with the batch's sequence, opens the gate for the next one. Results that take longer come
in later responses and hold back nobody (`answer_stream`, the server side).

grpc.aio hangs every waiter when two writes on one stream overlap, even if the first one's answer was read already: so
there is one writer a stream on either side, and a deadline on every waiter.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

import grpc

from services.shared import clock
from services.shared.errors import Kind, Refusal
from services.shared.metrics import ITEMS, Distribution
from services.shared.telemetry import logger

_log = logger("batching")

_MAX_BATCH: Final = 256
_MAX_WAITING: Final = 100_000
_CROWD: Final = 4
_GATHER_S: Final = 0.002
_TELL_WITHIN_S: Final = 0.01
_SWEEP_S: Final = 0.25
_RECONNECT_S: Final = 0.05
_RECONNECT_MAX_S: Final = 1.0


class _Item(Protocol):
    id: int


class Decisions:
    """The client side of one service's decision stream.

    Args:
        stream: the stub's DecideStream.
        once: the stub's Decide, the fallback for what was under way when the stream broke.
        request_type: the message of a batch.
        result_fields: the response's repeated fields that hold results.
        unavailable: the kind that waiters get when the service does not answer within `timeout_s`.
        impatient: whether they get it as soon as the service cannot be reached, for there is another replica to ask.
        gather_s: how long under load a batch waits for more to come; a message costs as much as some fifteen questions
            in it.
        opened: called when the service answers again on a new stream, after it had broken.
        sizes: notes how many questions each batch held.
    """

    def __init__(
        self,
        stream: Callable[[], Any],
        once: Callable[..., Awaitable[Any]],
        request_type: Callable[..., Any],
        result_fields: tuple[str, ...],
        unavailable: Kind,
        timeout_s: float,
        *,
        impatient: Callable[[], bool] = lambda: False,
        gather_s: Callable[[], float] = lambda: _GATHER_S,
        opened: Callable[[], None] | None = None,
        sizes: Distribution | None = None,
    ) -> None:
        self._stream = stream
        self._once = once
        self._request_type = request_type
        self._result_fields = result_fields
        self._unavailable = unavailable
        self._timeout_s = timeout_s
        self._impatient = impatient
        self._gather_s = gather_s
        self._opened = opened
        self._sizes = sizes or Distribution(ITEMS)
        self._loop = asyncio.get_running_loop()
        self.up = True
        """False from the moment its stream breaks until it answers again."""
        self._last_id = 0
        self._sequence = 0
        self._queue: deque[tuple[str, _Item, asyncio.Future[Any] | None]] = deque()
        self._waiting: dict[int, tuple[str, _Item, asyncio.Future[Any] | None, float]] = {}
        self._wake = asyncio.Event()
        self._gate = asyncio.Event()
        self._sent_at: float | None = None
        self._call: Any = None
        self._crowded = False
        """The last batch held many questions: others come soon."""
        self._closing = False
        self._dropped = 0
        self._telling: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to converse; questions may be asked before the service is up."""
        self._tasks = [asyncio.create_task(self._converse_for_good()), asyncio.create_task(self._sweep())]

    async def close(self, flush_s: float = 5) -> None:
        """Waits up to `flush_s` for what was told to arrive, then ends."""
        deadline = clock.monotonic_s() + flush_s
        while self._waiting and clock.monotonic_s() < deadline:
            await asyncio.sleep(0.01)
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._refuse_all()  # nobody will answer them any more

    def ask(self, field: str, item: Any) -> asyncio.Future[Any]:
        """Puts `item` into the next batch; the future gives its result, or raises Refusal."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if len(self._waiting) >= _MAX_WAITING:
            future.set_exception(Refusal(self._unavailable, self._unavailable.meaning))
            return future
        self._put(field, item, future)
        self._wake.set()
        return future

    def tell(self, field: str, item: Any) -> None:
        """Sends `item` along with the next question, within `_TELL_WITHIN_S`, and waits for no result; it is repeated
        until it arrived. While the service is away for long, what is told is dropped when too much of it waits: what it
        would end, ends by itself."""
        if len(self._waiting) >= _MAX_WAITING:
            self._dropped += 1
            return
        self._put(field, item, None)
        if self._telling is None and not self._wake.is_set():
            self._telling = self._loop.call_later(_TELL_WITHIN_S, self._wake.set)

    def _put(self, field: str, item: _Item, future: asyncio.Future[Any] | None) -> None:
        self._last_id = id_ = self._last_id + 1
        item.id = id_
        self._waiting[id_] = (field, item, future, clock.monotonic_s() + self._timeout_s)
        self._queue.append((field, item, future))

    async def _converse_for_good(self) -> None:
        pause_s = _RECONNECT_S
        while True:
            began_s, sequence = clock.monotonic_s(), self._sequence
            try:
                await self._converse()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if self._closing or (task is not None and task.cancelling()):
                    raise  # else it was the stream that was cancelled, by `_sweep`
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
                if pause_s == _RECONNECT_S:  # said once an outage
                    _log.warning("decision_stream_broke", kind=self._unavailable.label, error=_brief(error))
            self.up = False
            worked = self._sequence > sequence and clock.monotonic_s() - began_s > 1
            pause_s = _RECONNECT_S if worked else min(pause_s * 2, _RECONNECT_MAX_S)
            if not await self._retry_once():
                if self._impatient():
                    self._refuse_all()
                await asyncio.sleep(pause_s)

    async def _converse(self) -> None:
        """One stream's life: writes batches until the stream breaks."""
        self._call = call = self._stream()
        self._gate.set()
        self._sent_at = None
        if not self.up:
            self._wake.set()  # an empty batch tells whether the service answers
        reader = asyncio.create_task(self._read(call))
        try:
            while not reader.done():
                await self._gate.wait()
                await self._wake.wait()
                if reader.done():
                    break
                if self._crowded:
                    await asyncio.sleep(self._gather_s())
                request = self._take()
                if request is not None:
                    self._gate.clear()
                    self._sent_at = clock.monotonic_s()
                    await call.write(request)
            await reader
        finally:
            self._sent_at = None
            reader.cancel()
            call.cancel()

    async def _read(self, call: Any) -> None:
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                if not self.up:
                    self._answers_again()
                self._resolve(response)
                if response.sequence == self._sequence:
                    self._sent_at = None
                    self._gate.set()
        finally:
            self._gate.set()  # let the writer see that the stream is over
            self._wake.set()

    def _take(self) -> Any:
        """The next batch, or None when nobody waits."""
        queue = self._queue
        fields: defaultdict[str, list[_Item]] = defaultdict(list)
        count = 0
        while queue and count < _MAX_BATCH:
            field, item, future = queue.popleft()
            if future is not None and future.done():
                self._waiting.pop(item.id, None)
            else:
                fields[field].append(item)
                count += 1
        if not queue:
            self._wake.clear()
            if self._telling is not None:
                self._telling.cancel()
                self._telling = None
        self._crowded = count >= _CROWD
        if not fields and self.up:
            return None
        self._sizes.observe(count)
        self._sequence += 1
        return self._request_type(sequence=self._sequence, **fields)

    def _resolve(self, response: Any) -> None:
        waiting = self._waiting
        for field in self._result_fields:
            for result in getattr(response, field)[:]:  # as a list: upb's own iterator ends with a costly exception
                entry = waiting.pop(result.id, None)
                if entry is not None and entry[2] is not None and not entry[2].done():
                    entry[2].set_result(result)

    async def _retry_once(self) -> bool:
        """Asks all that is unanswered once more, through the unary call. False when the service is not there."""
        self._queue.clear()
        entries = list(self._waiting.values())
        if not entries:
            return False
        fields: dict[str, list[_Item]] = {}
        # Whoever does not wait any more would get an answer that nobody takes: a lease, say.
        wanted = [entry for entry in entries if entry[2] is None or not entry[2].done()]
        for field, item, _, _ in wanted[:_MAX_BATCH]:
            fields.setdefault(field, []).append(item)
        try:
            self._resolve(await self._once(self._request_type(sequence=0, **fields), timeout=self._timeout_s))
            return True
        except grpc.aio.AioRpcError:
            return False
        finally:
            self._queue.clear()  # of what was asked meanwhile, which stands in `_waiting` as well
            self._queue.extend((field, item, future) for field, item, future, _ in self._waiting.values())
            if self._queue:
                self._wake.set()

    def _answers_again(self) -> None:
        self.up = True
        if self._dropped:
            _log.error("told_in_vain", kind=self._unavailable.label, items=self._dropped)
            self._dropped = 0
        if self._opened is not None:
            self._opened()

    def _refuse_all(self) -> None:
        """Whoever asks had better ask another replica; what was told goes on waiting for this one."""
        for id_, (_, _, future, _) in list(self._waiting.items()):
            if future is not None:
                del self._waiting[id_]
                if not future.done():
                    future.set_exception(Refusal(self._unavailable, self._unavailable.meaning))

    async def _sweep(self) -> None:
        """Ends waits that are over, and a stream whose service stopped answering."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = clock.monotonic_s()
            if self._sent_at is not None and now - self._sent_at > self._timeout_s and self._call is not None:
                self._sent_at = None
                self._call.cancel()
            for id_, (_, _, future, deadline) in list(self._waiting.items()):
                if deadline > now:
                    break  # all wait equally long, so the oldest stand first
                if future is None:
                    continue
                del self._waiting[id_]
                if not future.done():
                    future.set_exception(Refusal(self._unavailable, self._unavailable.meaning))


async def answer_stream(
    requests: AsyncIterator[Any],
    context: Any,
    decide: Callable[[Any], tuple[Any, list[Awaitable[Any]]]],
) -> None:
    """The server side: answers each batch at once with what `decide` knows, and sends what comes later when it comes.

    `decide` gives the response and awaitables of further responses.
    """
    writing = asyncio.Lock()
    later: set[asyncio.Task[None]] = set()

    async def send_later(result: Awaitable[Any]) -> None:
        response = await result
        async with writing:
            await context.write(response)

    try:
        async for request in requests:
            response, slow = decide(request)
            async with writing:
                await context.write(response)
            for awaitable in slow:
                task = asyncio.create_task(send_later(awaitable))
                later.add(task)
                task.add_done_callback(later.discard)
    finally:
        for task in later:
            task.cancel()


def _brief(error: BaseException) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else repr(error)
