"""THE request: identify, read, admit and pick, relay, meter, settle. One coroutine, in this order.

Settling never waits: it hands usage events to the outbox and tells auth and the router, so that nothing, a client's
disconnect included, can come between (I1).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from services.edge import metering
from services.edge.clients import Auth
from services.edge.dialects import anthropic
from services.edge.exchange import Attempt, Delivered, Exchange
from services.edge.head import Headers, RequestHead, onward_query, read_head
from services.edge.hold import Hold
from services.edge.outbox import Outbox
from services.edge.principals import Principal, Principals
from services.edge.renewals import Renewals
from services.edge.reply import Reply, Send
from services.edge.settings import EdgeSettings
from services.edge.sizing import input_tokens_at_most
from services.edge.upstream import Answer, Failure, Transport, UpstreamFailed
from services.shared import clock, ids
from services.shared.batching import Decisions
from services.shared.errors import Kind, Refusal, from_detail
from services.shared.telemetry import RecordLog, logger
from tollhouse.v1 import auth_pb2, router_pb2

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Picking = asyncio.Future[router_pb2.PickResult]

_log = logger("relay")

_PASSED_BACK: Final = frozenset((b"content-type", b"cache-control", b"request-id", b"x-should-retry", b"retry-after"))
"""The upstream's headers that reach the client; others may tell which account of ours it was (I6)."""
_CLIENT_FAULTS: Final = frozenset((400, 404, 405, 409, 413, 415, 422))
_ERROR_MAX_BYTES: Final = 1024 * 1024


class ClientGone(Exception):
    """The client left before its request was read."""


class Relay:
    """POST /v1/messages."""

    def __init__(
        self,
        settings: EdgeSettings,
        principals: Principals,
        auth: Auth,
        router: Decisions,
        transport: Transport,
        outbox: Outbox,
        renewals: Renewals,
        requests: RecordLog,
    ) -> None:
        self._settings = settings
        self._principals = principals
        self._auth = auth
        self._router = router
        self._transport = transport
        self._outbox = outbox
        self._renewals = renewals
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        created_ms, began_s = clock.now_ms(), clock.monotonic_s()
        reply = Reply(send, ids.request_id(created_ms))
        exchange: Exchange | None = None
        watch = _ClientWatch(receive)
        try:
            head = read_head(scope["headers"])
            principal = await self._principals.of(head.key())
            body = await self._read_body(head, receive)
            watch.begin()
            request = anthropic.read_messages(body)
            exchange = Exchange(
                reply.request_id,
                created_ms,
                began_s,
                principal,
                head,
                request,
                body,
                onward_query(scope["query_string"]),
                self._hold(reply.request_id, principal, request, body),
            )
            await self._relay(exchange, await self._admit_and_pick(exchange), reply)
        except Refusal as refusal:
            await reply.refuse(refusal)
        except ClientGone:
            reply.error = "client_gone"
        except asyncio.CancelledError:
            reply.error = "client_gone" if watch.gone else "cancelled"
            if not watch.gone:
                if exchange is not None:
                    exchange.cut_off()
                raise
            watch.absorb_cancellation()
        except Exception:
            _log.exception("relay_failed", request_id=reply.request_id)
            await reply.refuse(Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))
        finally:
            watch.end()
            if exchange is not None:
                self._settle(exchange, reply)
            self._record(exchange, reply, began_s)

    # ---- read ----

    async def _read_body(self, head: RequestHead, receive: Receive) -> bytes:
        limit = self._settings.body_max_bytes
        if head.content_length is not None and head.content_length > limit:
            raise _too_large(limit)
        body, more = await self._read_piece(receive)
        if more:
            pieces, size = [body], len(body)
            while more:
                body, more = await self._read_piece(receive)
                pieces.append(body)
                size += len(body)
                if size > limit:
                    raise _too_large(limit)
            body = b"".join(pieces)
        if len(body) > limit:
            raise _too_large(limit)
        return body

    async def _read_piece(self, receive: Receive) -> tuple[bytes, bool]:
        timeout_s = self._settings.body_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                message = await receive()
        except TimeoutError:
            raise Refusal(Kind.REQUEST_TIMEOUT, f"nothing of the body came for {timeout_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message.get("body", b""), message.get("more_body", False)

    # ---- admit and pick ----

    def _hold(self, request_id: str, principal: Principal, request: anthropic.Messages, body: bytes) -> Hold:
        """The hold to ask for: the worst case or, for a stream, a first stretch of it."""
        settings, output_tokens = self._settings, request.max_tokens
        if request.stream:
            output_tokens = min(output_tokens, settings.hold_stretch_tokens + request.thinking_tokens)
        return Hold(
            self._auth.owner(principal.tenant_id),
            request_id,
            principal.tenant_id,
            input_tokens_at_most(body),
            output_tokens,
            request.max_tokens,
            settings.hold_stretch_tokens,
            settings.decision_timeout_s,
        )

    async def _admit_and_pick(self, exchange: Exchange) -> Picking:
        """Places the hold, while the router picks already."""
        if self._outbox.full:
            raise Refusal(Kind.RECORDING_UNAVAILABLE, "usage cannot be recorded now; please try again")
        admitting = self._ask_for_hold(exchange)
        picking = self._pick(exchange)
        try:
            try:
                admitted = await admitting
            except Refusal as refusal:
                admitted = await self._ask_other_replica(exchange, refusal)
        except BaseException:
            picking.cancel()
            raise
        if admitted.HasField("error"):
            picked = await picking  # a model that nobody serves has no price either: the caller is told the former
            unknown = picked.HasField("error") and picked.error.kind == Kind.MODEL_UNKNOWN.label
            raise from_detail(picked.error if unknown else admitted.error)
        exchange.hold.placed(admitted)
        self._renewals.add(exchange)
        return picking

    def _ask_for_hold(self, exchange: Exchange) -> asyncio.Future[auth_pb2.AdmitResult]:
        hold, principal = exchange.hold, exchange.principal
        item = auth_pb2.AdmitItem(
            hold_id=exchange.request_id,
            tenant_id=principal.tenant_id,
            key_id=principal.key_id,
            model=exchange.request.model,
            input_tokens=hold.input_tokens,
            output_tokens=hold.output_tokens,
            key_cap_nano=principal.spend_cap_nano,
        )
        return hold.auth.ask("admit", item)

    async def _ask_other_replica(self, exchange: Exchange, refusal: Refusal) -> auth_pb2.AdmitResult:
        """The tenant's owner is lost: its tenants move to the next in order."""
        lost = exchange.hold.auth
        other = self._auth.owner(exchange.principal.tenant_id, other_than=lost)
        if refusal.kind is not Kind.AUTH_UNAVAILABLE or other is lost:
            raise refusal
        lost.tell("settle", exchange.settlement())  # it may have placed the hold all the same
        exchange.hold.auth = other
        return await self._ask_for_hold(exchange)

    def _pick(self, exchange: Exchange) -> Picking:
        attempt = exchange.next_attempt()
        item = router_pb2.PickItem(lease_id=attempt.lease_id, model=exchange.request.model, exclude=exchange.tried())
        return self._router.ask("pick", item)

    # ---- relay ----

    async def _relay(self, exchange: Exchange, picking: Picking, reply: Reply) -> None:
        """Attempts until one answers: before the first byte only, each on another upstream account."""
        failure: Refusal | None = None
        while True:
            attempt = exchange.attempts[-1]
            attempt.picked = picked = await picking
            if picked.HasField("error"):
                raise failure or from_detail(picked.error)
            try:
                failure = await self._attempt(exchange, attempt, reply)
            finally:
                attempt.ended_s = clock.monotonic_s()
            if failure is None:
                return
            late = attempt.ended_s - exchange.began_s > self._settings.attempts_budget_s
            if late or attempt.number >= self._settings.attempts:
                raise failure
            self._report(attempt)
            picking = self._pick(exchange)

    async def _attempt(self, exchange: Exchange, attempt: Attempt, reply: Reply) -> Refusal | None:
        """One attempt. None when the client has its answer, else why another account should be tried."""
        url, headers, body = anthropic.upstream_request(
            attempt.picked, exchange.request.model, exchange.body, exchange.query, exchange.head.onward
        )
        attempt.begin()
        self._outbox.progress(exchange.request_id, exchange.so_far())
        try:
            answer = await self._transport.send(url, headers, body)
        except UpstreamFailed as failed:
            return _failed(attempt, failed)
        try:
            attempt.http_status = answer.status
            attempt.upstream_request_id = _header(answer, b"request-id")
            if answer.status >= 300 and answer.status not in _CLIENT_FAULTS:
                return await _refused(attempt, answer)
            if _header(answer, b"content-encoding") not in ("", "identity"):
                attempt.upstream_fault()
                return Refusal(Kind.UPSTREAM_FAILED, "the upstream answered in an encoding that it was not asked for")
            if answer.status < 300 and _header(answer, b"content-type").startswith("text/event-stream"):
                return await self._relay_stream(exchange, attempt, answer, reply)
            return await self._relay_plain(exchange, attempt, answer, reply)
        finally:
            answer.close()

    async def _relay_plain(self, exchange: Exchange, attempt: Attempt, answer: Answer, reply: Reply) -> Refusal | None:
        """The whole answer is read before any of it is sent, so that one that breaks off can be tried elsewhere."""
        try:
            body = await answer.read(self._settings.answer_max_bytes)
        except UpstreamFailed as failed:
            return _failed(attempt, failed)
        if answer.status < 300:
            attempt.answered(*metering.of_answer(body, exchange.body_bytes))
        else:
            attempt.client_fault()
        await reply.whole(answer.status, _passed_back(answer), body)
        return None

    async def _relay_stream(self, exchange: Exchange, attempt: Attempt, answer: Answer, reply: Reply) -> Refusal | None:
        """Pieces go on as they come (I5)."""
        meter, hold = metering.StreamMeter(), exchange.hold
        try:
            chunk = await answer.chunk()
        except UpstreamFailed as failed:
            return _failed(attempt, failed)
        exchange.meter = meter
        broken, spent = "", None
        try:
            exchange.forget_body()
            await reply.start(answer.status, _passed_back(answer))
            while chunk:
                meter.feed(chunk)
                await reply.piece(chunk)
                if meter.produced_at_most >= hold.ask_at:
                    spent = await hold.follow(meter.produced_at_most)
                    if spent is not None:
                        break
                chunk = await answer.chunk()
        except UpstreamFailed as failed:
            broken = failed.failure.value
        finally:
            attempt.tokens, attempt.estimated = meter.result(exchange.body_bytes)
        if meter.complete and not broken:
            attempt.answered(attempt.tokens, attempt.estimated)
            await reply.end()
        elif spent is not None:
            attempt.ended_by_us()
            await reply.break_off(spent)
        else:
            attempt.interrupted()
            if meter.ended_with_error:  # the client has been told already
                await reply.end()
            else:
                broken = broken or "ended its answer too early"
                await reply.break_off(Refusal(Kind.UPSTREAM_FAILED, f"the upstream {broken}"))
        return None

    # ---- settle ----

    def _report(self, attempt: Attempt) -> None:
        if not attempt.reported:
            attempt.reported = True
            item = router_pb2.ReportItem(lease_id=attempt.lease_id, outcome=attempt.outcome)
            self._router.tell("report", item)

    def _settle(self, exchange: Exchange, reply: Reply) -> None:
        """Ends lease and hold and records every attempt that reached an upstream. Never waits (I1, I3)."""
        self._renewals.remove(exchange)
        if exchange.attempts:
            self._report(exchange.attempts[-1])
            exchange.hold.auth.tell("settle", exchange.settlement())
            delivered = Delivered(reply.first_byte_s, reply.size_bytes, reply.sha256)
            self._outbox.end(exchange.request_id, exchange.usage_events(delivered))

    def _record(self, exchange: Exchange | None, reply: Reply, began_s: float) -> None:
        self._requests.add(
            request_id=reply.request_id,
            tenant_id=exchange.principal.tenant_id if exchange else None,
            model=exchange.request.model if exchange else None,
            status=reply.status,
            error=reply.error,
            attempts=len(exchange.attempts) if exchange else 0,
            duration_ms=round((clock.monotonic_s() - began_s) * 1000),
        )


class _ClientWatch:
    """Cancels the request's coroutine when the client leaves."""

    __slots__ = ("_receive", "_relaying", "_watching", "gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._relaying = asyncio.current_task()
        self._watching: asyncio.Task[None] | None = None
        self.gone = False

    def begin(self) -> None:
        """Watches from now on: the body is read, so all that can still come is the client's disconnect."""
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._relaying is not None:
            self._relaying.cancel()

    def absorb_cancellation(self) -> None:
        """The cancellation was ours, and is dealt with."""
        if self._relaying is not None:
            self._relaying.uncancel()

    def end(self) -> None:
        """Watches no more."""
        if self._watching is not None:
            self._watching.cancel()


def _too_large(limit: int) -> Refusal:
    return Refusal(Kind.REQUEST_TOO_LARGE, f"the body is over the limit of {limit} bytes")


def _failed(attempt: Attempt, failed: UpstreamFailed) -> Refusal:
    """Notes an attempt without an answer, and says so."""
    attempt.failed(failed)
    kind = Kind.UPSTREAM_TIMEOUT if failed.failure is Failure.SILENT else Kind.UPSTREAM_FAILED
    return Refusal(kind, f"the upstream {failed.failure.value}")


async def _refused(attempt: Attempt, answer: Answer) -> Refusal:
    """Notes an answer that is the upstream's or our account's fault; the client is not shown its text (I6)."""
    try:
        type_ = anthropic.upstream_error_type(await answer.read(_ERROR_MAX_BYTES))
    except UpstreamFailed:
        type_ = ""
    if answer.status in (429, 529):
        attempt.upstream_fault(router_pb2.OUTCOME_THROTTLED)
        after_s = _header(answer, b"retry-after")
        kind = Kind.UPSTREAM_THROTTLED if answer.status == 429 else Kind.UPSTREAM_OVERLOADED
        return Refusal(kind, kind.meaning, retry_after_s=after_s if after_s.isdigit() else "")
    attempt.upstream_fault()
    if answer.status >= 500:
        said = f"the upstream answered with status {answer.status}"
        return Refusal(Kind.UPSTREAM_FAILED, said, upstream_error_type=type_)
    return Refusal(Kind.UPSTREAM_FAILED, "the upstream refused our account there")


def _passed_back(answer: Answer) -> Headers:
    return [(name.lower(), value) for name, value in answer.headers if name.lower() in _PASSED_BACK]


def _header(answer: Answer, wanted: bytes) -> str:
    for name, value in answer.headers:
        if name.lower() == wanted:
            return value.decode("latin-1")[:200]
    return ""
