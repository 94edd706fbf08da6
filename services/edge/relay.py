"""THE request: identify, read, admit and pick, relay, meter, settle. One coroutine, in this order.

Settling never waits: it hands usage events to the outbox and tells auth and the router, so that nothing, a client's
disconnect included, can come between (I1).
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

from services.edge import access, attempts, metering
from services.edge.admission import Admission
from services.edge.answer_head import read_answer_head
from services.edge.apis import Api
from services.edge.brand import Brand
from services.edge.brands import Brands
from services.edge.conversation import conversation
from services.edge.dialects import anthropic, anthropic_requests, openai_requests
from services.edge.dialects.asked import Asked, Defaults
from services.edge.dialects.speech import SPEECHES
from services.edge.exchange import Attempt, Delivered, Exchange
from services.edge.head import onward_query, read_head
from services.edge.hold import CREDIT_IS_OUT
from services.edge.incoming import Bodies, ClientGone, Incoming, Receive, Scope
from services.edge.keepalive import KeepAlive
from services.edge.metrics import Metrics
from services.edge.outbox import Outbox
from services.edge.passages import Passage
from services.edge.picks import Picking, Picks
from services.edge.principals import Principals
from services.edge.renewals import Renewals
from services.edge.reply import Reply, Send
from services.edge.routes import Routes
from services.edge.settings import EdgeSettings
from services.edge.sizing import input_tokens_at_most, input_tokens_likely
from services.edge.traces import Traces
from services.edge.translations import translation
from services.edge.transports import Transports
from services.edge.upstream import Answer, Failure, UpstreamFailed
from services.shared import clock, ids
from services.shared.connections import Line
from services.shared.errors import Blame, Kind, Refusal, from_detail
from services.shared.telemetry import RecordLog, logger
from services.shared.tracing import Trace
from tollhouse.v1 import router_pb2

_log = logger("relay")

_READERS: Final[Mapping[Api, Callable[[bytes, Defaults], Asked]]] = {
    Api.MESSAGES: anthropic_requests.read_messages,
    Api.COUNT_TOKENS: anthropic_requests.read_count_tokens,
    Api.CHAT: openai_requests.read_chat,
    Api.RESPONSES: openai_requests.read_responses,
    Api.EMBEDDINGS: openai_requests.read_embeddings,
}
_LAST_ATTEMPT_S: Final = 1.0
"""With less time left than this no attempt is begun: it would be blamed on an account that had no chance."""
_HEAR_OUT_S: Final = 0.25
_PLACES_MAX: Final = 10_000
_HELD_BACK_BYTES: Final = 64 * 1024
"""A stream that has sent so much has begun, whatever it is."""


class Relay:
    """POST requests that go to upstreams, of every API."""

    def __init__(
        self,
        settings: EdgeSettings,
        principals: Principals,
        admission: Admission,
        routes: Routes,
        picks: Picks,
        transports: Transports,
        outbox: Outbox,
        renewals: Renewals,
        keep_alive: KeepAlive,
        requests: RecordLog,
        brands: Brands,
        bodies: Bodies,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._settings = settings
        self._principals = principals
        self._admission = admission
        self._routes = routes
        self._picks = picks
        self._transports = transports
        self._outbox = outbox
        self._renewals = renewals
        self._keep_alive = keep_alive
        self._requests = requests
        self._brands = brands
        self._bodies = bodies
        self._metrics = metrics
        self._traces = traces
        self._without_responses: set[tuple[str, str]] = set()
        """Where there is no Responses API, for which model."""
        self._trusted = access.trusted_networks(settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, line: Line, api: Api) -> None:
        created_ms, began_s = clock.now_ms(), clock.monotonic_s()
        head = read_head(scope["headers"])
        brand = self._brands.of_host(head.host)
        id_ = ids.request_id(created_ms)
        reply = Reply(send, line, id_, SPEECHES[api], brand, from_browser=head.from_browser)
        exchange: Exchange | None = None
        incoming = Incoming(receive, line, self._settings, self._bodies)
        trace = self._traces.begin(head.traceparent)
        try:
            principal = await self._principals.of(head.key(self._brands.prefixes))
            head.check_encoding()
            asked_s = clock.monotonic_s()
            body = await incoming.body(principal.tenant_id, head.content_length)
            body_s = clock.monotonic_s() - asked_s
            request = _READERS[api](body, self._defaults(brand))
            if principal.models or principal.addresses:
                address = access.client_address(scope["client"][0], scope["headers"], self._trusted)
                access.check(principal, request.model, address)
            exchange = Exchange(
                reply.request_id,
                created_ms,
                began_s,
                principal,
                head,
                api,
                request,
                body,
                incoming.forget_body,
                onward_query(scope["query_string"]),
                self._admission.hold(reply.request_id, principal, request, body, billed=api is not Api.COUNT_TOKENS),
                self._routes.pools(principal.group, request.model),
                self._routes.times(request.model),
                conversation(principal.tenant_id, request.session, *request.beginning),
                body_s=body_s,
                trace=trace,
            )
            request.forget_beginning()
            del body  # the exchange forgets its own when a stream begins, which may last for minutes
            picking = await self._admit_and_pick(exchange, reply)
            if request.stream:
                self._keep_alive.add(reply)
            await self._relay(exchange, picking, reply)
        except Refusal as refusal:
            if api is not Api.COUNT_TOKENS or exchange is None or not self._may_estimate(exchange, refusal):
                await reply.refuse(refusal)
            else:
                await reply.whole(
                    200, *anthropic.estimated_count(input_tokens_likely(input_tokens_at_most(exchange.body)))
                )
        except ClientGone:
            reply.error = "client_gone"
        except asyncio.CancelledError:
            reply.error = "client_gone" if incoming.gone else "cancelled"
            if not incoming.gone:
                if exchange is not None:
                    exchange.cut_off()
                raise
            incoming.absorb_cancellation()
        except Exception:
            _log.exception("relay_failed", request_id=reply.request_id)
            await reply.refuse(Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))
        finally:
            incoming.end()
            self._keep_alive.remove(reply)
            if exchange is not None:
                self._settle(exchange, reply)
            self._record(api, brand, exchange, reply, trace, began_s)

    def _defaults(self, brand: Brand) -> Defaults:
        settings = self._settings
        return Defaults(brand.default_max_tokens, settings.default_output_tokens, settings.hold_thinking_tokens)

    def _may_estimate(self, exchange: Exchange, refusal: Refusal) -> bool:
        """Whether tokens that no upstream counts may be estimated: the fault is not the client's."""
        unknown = refusal.kind is Kind.MODEL_UNKNOWN and self._routes.serves(
            exchange.principal.group, exchange.request.model
        )
        return unknown or refusal.kind.blame is Blame.UPSTREAM

    # ---- admit and pick ----

    async def _admit_and_pick(self, exchange: Exchange, reply: Reply) -> Picking:
        """Places the hold, while the router picks already."""
        admitting = self._admission.ask(exchange)
        picking = self._picks.ask(exchange)
        try:
            admitted = await self._admission.answer(exchange, admitting)
            if admitted.limits:
                reply.limits = SPEECHES[exchange.api].limit_headers(admitted.limits, clock.now_ms())
            if admitted.HasField("error"):
                refusal = from_detail(admitted.error)
                if refusal.kind is Kind.MODEL_UNPRICED:  # a model that nobody serves has no price either
                    await self._picks.answer(exchange, picking)
                raise refusal
        except BaseException:
            picking.cancel()
            raise
        exchange.hold.placed(admitted)
        self._renewals.add(exchange)
        return picking

    # ---- relay ----

    async def _relay(self, exchange: Exchange, picking: Picking, reply: Reply) -> None:
        """Attempts until one answers: before the first byte of content only, each on another upstream account."""
        failures: list[Refusal] = []
        while True:
            attempt = exchange.attempts[-1]
            try:
                await self._picks.answer(exchange, picking)
            except Refusal as refusal:
                raise attempts.summary(failures, refusal) from None
            try:
                failure = await self._attempt(exchange, attempt, reply)
            finally:
                attempt.ended_s = clock.monotonic_s()
            if failure is None:
                return
            if not attempt.again:
                failures.append(failure)
                if not self._may_try_again(exchange, attempt):
                    raise attempts.summary(failures)
            self._report(attempt)
            picking = self._picks.ask(exchange, only=attempt.again)

    def _may_try_again(self, exchange: Exchange, attempt: Attempt) -> bool:
        took_s = clock.monotonic_s() - exchange.began_s
        late = took_s > exchange.times.attempts_budget_s or took_s > exchange.times.total_s - _LAST_ATTEMPT_S
        return not late and attempt.number < ids.FIRST_ATTEMPT + self._settings.attempts - 1

    async def _attempt(self, exchange: Exchange, attempt: Attempt, reply: Reply) -> Refusal | None:
        """One attempt. None when the client has its answer, else why another account should be tried."""
        passage = self._passage(exchange, attempt)
        left_s = exchange.times.total_s - (clock.monotonic_s() - exchange.began_s)
        patience = exchange.times.patience(exchange.request.stream, max(0.0, left_s))
        attempt.begin()
        attempt.began_s = clock.monotonic_s()
        self._outbox.progress(exchange.request_id, exchange.so_far())
        try:
            transport = self._transports.to(attempt.picked.proxy)
            answer = await transport.send(passage.url, passage.headers, passage.body, patience)
        except UpstreamFailed as failed:
            return attempts.failed(attempt, failed)
        passage.body = b""
        try:
            attempt.http_status = answer.status
            attempt.head = head = read_answer_head(answer.headers)
            attempt.upstream_request_id = head.request_id
            if head.content_encoding not in (b"", b"identity"):
                attempt.upstream_fault()
                return Refusal(Kind.UPSTREAM_FAILED, "the upstream answered in an encoding that it was not asked for")
            if answer.status >= 300:
                return await self._pass_error_on(exchange, attempt, passage, answer, reply)
            if exchange.without_responses == attempt.picked.upstream_account_id:
                self._remember_without_responses(attempt)
            if head.content_type.startswith(b"text/event-stream"):
                return await self._relay_stream(exchange, attempt, passage, answer, reply)
            return await self._relay_plain(exchange, attempt, passage, answer, reply)
        finally:
            answer.close()

    def _passage(self, exchange: Exchange, attempt: Attempt) -> Passage:
        return Passage(
            exchange.api,
            attempt.picked,
            exchange.request,
            exchange.body,
            exchange.query,
            exchange.head.onward,
            translation,
            exchange.request_id,
            exchange.created_ms // clock.MS_PER_S,
            without_thinking=exchange.without_thinking,
            without_responses=exchange.api is Api.RESPONSES and self._lacks_responses(exchange, attempt),
        )

    def _lacks_responses(self, exchange: Exchange, attempt: Attempt) -> bool:
        here = attempt.picked.upstream_account_id
        return exchange.without_responses == here or _place(attempt) in self._without_responses

    def _remember_without_responses(self, attempt: Attempt) -> None:
        """Asked for a chat completion it answers: it is not asked for a response again."""
        if len(self._without_responses) >= _PLACES_MAX:
            self._without_responses.clear()
        self._without_responses.add(_place(attempt))

    async def _pass_error_on(
        self, exchange: Exchange, attempt: Attempt, passage: Passage, answer: Answer, reply: Reply
    ) -> Refusal | None:
        """An error that is the client's own fault goes on as it is, anything else to the next account."""
        failure, body, error = await attempts.refused(attempt, answer)
        attempt.content_s = clock.monotonic_s()
        if self._may_try_again(exchange, attempt):
            if error.signature_invalid and not exchange.without_thinking:
                # Thinking that another account signed: this one can go on without it.
                exchange.without_thinking = True
                attempt.again = attempt.picked.upstream_account_id
                return failure
            if error.route_unknown and exchange.api is Api.RESPONSES and not passage.translated:
                exchange.without_responses = attempt.again = attempt.picked.upstream_account_id
                return failure
        if attempt.status_is_client_fault:
            assert attempt.head is not None
            passed_back = attempt.head.passed_back
            if attempt.head.retry_after:
                passed_back.append((b"retry-after", attempt.head.retry_after.encode("latin-1")))
            said = passage.error(answer.status, body)
            if said is not body:  # it is JSON now, whatever it was
                passed_back = [(name, value) for name, value in passed_back if name != b"content-type"]
                passed_back.append((b"content-type", b"application/json"))
            await reply.whole(answer.status, passed_back, said)
            return None
        return failure

    async def _relay_plain(
        self, exchange: Exchange, attempt: Attempt, passage: Passage, answer: Answer, reply: Reply
    ) -> Refusal | None:
        """The whole answer is read before any of it is sent, so that one that breaks off can be tried elsewhere."""
        try:
            body = await answer.read(self._settings.answer_max_bytes)
            attempt.content_s = clock.monotonic_s()
            said = passage.answer(body)
        except UpstreamFailed as failed:
            return attempts.failed(attempt, failed)
        except (ValueError, RecursionError):
            attempt.upstream_fault()
            return Refusal(Kind.UPSTREAM_FAILED, "the upstream's answer cannot be translated")
        attempt.answered(*passage.meter_answer(body, exchange.likely_input_tokens))
        assert attempt.head is not None
        reply.upstream_account_id = attempt.picked.upstream_account_id
        await reply.whole(answer.status, attempt.head.passed_back, said)
        return None

    async def _relay_stream(
        self, exchange: Exchange, attempt: Attempt, passage: Passage, answer: Answer, reply: Reply
    ) -> Refusal | None:
        """Pieces go on as they come (I5), but for those before the first content, which are held back until it comes:
        a stream that breaks off before then is tried elsewhere."""
        meter = passage.new_meter()
        held_back: list[bytes] = []
        deadline_s = clock.monotonic_s() + exchange.times.first_byte_s
        try:
            while not meter.begun:
                if held_back and clock.monotonic_s() > deadline_s:
                    raise UpstreamFailed(Failure.SILENT, reached=True)  # pings alone are no answer
                chunk = await answer.chunk()
                if not chunk:
                    break
                exchange.meter = meter
                meter.feed(chunk)
                held_back.append(chunk)
                if meter.size_bytes > _HELD_BACK_BYTES:
                    break
        except UpstreamFailed as failed:
            exchange.meter = None
            return attempts.failed(attempt, failed)
        except asyncio.CancelledError:
            if held_back:
                attempt.tokens, attempt.estimated = meter.result(exchange.likely_input_tokens)
            raise
        attempt.content_s = clock.monotonic_s()
        begun = meter.begun or meter.size_bytes > _HELD_BACK_BYTES
        failure = None if begun else attempts.broken(attempt, meter.last_data)
        if failure is not None:
            exchange.meter = None
            return failure
        exchange.forget_body()
        if attempt.picked.probe and begun and attempt.router is not None:
            answering = router_pb2.ReportItem(lease_id=attempt.lease_id, outcome=router_pb2.OUTCOME_ANSWERING)
            attempt.router.tell("report", answering)
        assert attempt.head is not None
        reply.upstream_account_id = attempt.picked.upstream_account_id
        await reply.start(answer.status, attempt.head.passed_back)
        if begun:
            chunk = b""  # held back, too
            await self._flow(exchange, attempt, passage, answer, reply, meter, held_back)
        else:
            await reply.piece(passage.feed(b"".join(held_back)))
            await reply.end()
        return None

    async def _flow(
        self,
        exchange: Exchange,
        attempt: Attempt,
        passage: Passage,
        answer: Answer,
        reply: Reply,
        meter: metering.StreamMeter,
        held_back: list[bytes],
    ) -> None:
        """The stream from its first content on, which was held back and is metered already."""
        hold, deadline_s = exchange.hold, exchange.began_s + exchange.times.total_s
        broken, too_long, spent, ended, unsent = "", False, None, False, b""

        def send_on(chunk: bytes) -> bool:
            """Whether the next one can be sent on at once, too."""
            nonlocal unsent
            said = passage.feed(chunk)
            if said and not reply.piece_now(said):
                unsent = said
                return False
            return meter.produced_at_most < hold.ask_at and reply.sent_s <= deadline_s

        def take(chunk: bytes) -> bool:
            meter.feed(chunk)
            return send_on(chunk)

        try:
            send_on(b"".join(held_back))
            held_back.clear()
            while True:
                if unsent:
                    await reply.piece(unsent)
                    unsent = b""
                if meter.produced_at_most >= hold.ask_at:
                    spent = await hold.follow(meter.produced_at_most)
                    if spent is not None:
                        break
                if reply.sent_s > deadline_s:
                    raise UpstreamFailed(Failure.TOO_LONG, reached=True)
                if ended:
                    break
                ended = await answer.flow(take)
        except UpstreamFailed as failed:
            broken, too_long = failed.failure.value, failed.failure is Failure.TOO_LONG
        except asyncio.CancelledError:
            await _hear_out(answer, meter)
            raise
        finally:
            attempt.tokens, attempt.estimated = meter.result(exchange.likely_input_tokens)
        if meter.complete and not broken:
            attempt.answered(attempt.tokens, attempt.estimated)
            last = passage.end()
            if last:
                await reply.piece(last)
            await reply.end()
        elif spent is not None:
            attempt.ended_by_us(credit_is_out=spent.kind in CREDIT_IS_OUT)
            await reply.break_off(spent)
        else:
            if too_long:  # our own limit, and perhaps a client that reads slowly
                attempt.ended_by_us(credit_is_out=False)
            else:
                attempts.cut(attempt, meter)
            if meter.ended_with_error:  # the client has been told already
                await reply.end()
            else:
                broken = broken or "ended its answer too early"
                await reply.break_off(Refusal(Kind.UPSTREAM_FAILED, f"the upstream {broken}"))

    # ---- settle ----

    def _report(self, attempt: Attempt) -> None:
        if not attempt.reported and attempt.router is not None:
            attempt.reported = True
            attempt.router.tell("report", attempt.report(clock.now_ms()))

    def _settle(self, exchange: Exchange, reply: Reply) -> None:
        """Ends lease and hold and records every attempt that reached an upstream. Never waits (I1, I3)."""
        self._renewals.remove(exchange)
        if exchange.attempts:
            self._report(exchange.attempts[-1])
            exchange.hold.auth.tell("settle", exchange.settlement())
            delivered = Delivered(reply.first_byte_s, reply.size_bytes, reply.sha256)
            self._outbox.end(exchange.request_id, exchange.usage_events(delivered), exchange.trace)

    def _record(
        self, api: Api, brand: Brand, exchange: Exchange | None, reply: Reply, trace: Trace | None, began_s: float
    ) -> None:
        ended_s = clock.monotonic_s()
        self._metrics.ended(api, brand.name, exchange, reply, began_s, ended_s)
        trace = self._traces.ended(trace, api, exchange, reply, began_s, ended_s)
        self._requests.add(
            request_id=reply.request_id,
            tenant_id=exchange.principal.tenant_id if exchange else None,
            model=exchange.request.model if exchange else None,
            status=reply.status,
            error=reply.error,
            attempts=len(exchange.attempts) if exchange else 0,
            duration_ms=round((ended_s - began_s) * 1000),
            trace_id=trace.hexadecimal if trace else None,
        )


def _place(attempt: Attempt) -> tuple[str, str]:
    return attempt.picked.base_url, attempt.picked.upstream_model


async def _hear_out(answer: Answer, meter: metering.StreamMeter) -> None:
    """A client has left. If the answer is about to end, the upstream says what it used: a client that leaves just
    before that is charged exactly, rather than for what could be seen."""
    with contextlib.suppress(TimeoutError, UpstreamFailed):
        async with asyncio.timeout(_HEAR_OUT_S):
            while not meter.all_said and (chunk := await answer.chunk()):
                meter.feed(chunk)
