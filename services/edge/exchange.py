"""One request from its admission on: the attempts made for it, and what they mean for the books."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from services.edge.answer_head import AnswerHead
from services.edge.apis import Api
from services.edge.dialects.asked import Asked
from services.edge.head import RequestHead
from services.edge.hold import Hold
from services.edge.metering import StreamMeter
from services.edge.principals import Principal
from services.edge.replicas import Replica
from services.edge.routes import Times
from services.edge.sizing import input_tokens_likely
from services.edge.upstream import Failure, UpstreamFailed
from services.shared import ids
from services.shared.pricing import Tokens
from services.shared.tracing import Trace
from tollhouse.v1 import auth_pb2, events_pb2, router_pb2, types_pb2

NO_TOKENS: Final = Tokens()
_NOT_PICKED: Final = router_pb2.PickResult()
_ANSWERED: Final = (events_pb2.USAGE_STATUS_OK, events_pb2.USAGE_STATUS_CREDIT_EXHAUSTED)
_LEFT: Final = (events_pb2.USAGE_STATUS_CLIENT_GONE,)
"""A request counts as answered where its client has left while it was being answered."""
_ASKING_LATER: Final = (
    router_pb2.OUTCOME_THROTTLED,
    router_pb2.OUTCOME_OVERLOADED,
    router_pb2.OUTCOME_OUT_OF_CREDIT,
    router_pb2.OUTCOME_UPSTREAM_FAULT,
)


class Attempt(msgspec.Struct):
    """One try at an upstream account."""

    number: int
    lease_id: str
    picked: router_pb2.PickResult = _NOT_PICKED
    status: events_pb2.UsageStatus.ValueType | None = None
    """None while it has not reached the upstream."""
    outcome: router_pb2.Outcome.ValueType = router_pb2.OUTCOME_UNUSED
    http_status: int = 0
    upstream_request_id: str = ""
    tokens: Tokens = NO_TOKENS
    estimated: bool = False
    repeatable: bool = False
    """The same account may be tried again."""
    router: Replica | None = None
    """Who leases the account."""
    only: str = ""
    """The account that was asked for by name."""
    again: str = ""
    """The account, where it should be asked once more, differently."""
    head: AnswerHead | None = None
    """Of the upstream's answer."""
    reported: bool = False
    began_s: float = 0.0
    """When it was sent, on the monotonic clock; 0 while it was not."""
    event: events_pb2.UsageEvent | None = None
    """What was last said of it to the books: the same message each time, brought up to date."""
    content_s: float = 0.0
    """When the upstream's answer could be passed on: the whole of it, or the first content of a stream; 0 before."""
    ended_s: float = 0.0

    def begin(self) -> None:
        """The request is on its way. Until more is known this is an attempt that the client gave up."""
        self.status, self.outcome = events_pb2.USAGE_STATUS_CLIENT_GONE, router_pb2.OUTCOME_CLIENT_GONE
        self.estimated = True

    def answered(self, tokens: Tokens, estimated: bool) -> None:
        """It was answered in full."""
        self.status, self.outcome = events_pb2.USAGE_STATUS_OK, router_pb2.OUTCOME_OK
        self.tokens, self.estimated = tokens, estimated

    def report(self, now_ms: int) -> router_pb2.ReportItem:
        """What ends the lease and tells the router how it went."""
        item = router_pb2.ReportItem(lease_id=self.lease_id, outcome=self.outcome)
        if self.status is not None:
            _count(item.used, self.tokens, self.status)
        head = self.head
        if head is not None and (head.retry_after or head.limits):
            left = head.left(now_ms)
            if left is not None:
                item.left_ppm, item.left_reset_ms = left
            if self.outcome in _ASKING_LATER:
                item.retry_after_ms = head.retry_after_ms(now_ms)
        return item

    def interrupted(self) -> None:
        """The answer broke off after its first byte."""
        self.status, self.outcome = events_pb2.USAGE_STATUS_INTERRUPTED, router_pb2.OUTCOME_CUT

    def ended_by_us(self, *, credit_is_out: bool) -> None:
        """It was ended in mid-stream because nothing more could be held for it: the balance or the key's spend cap was
        used up, or nobody could be asked; or because it took longer than it may altogether."""
        interrupted, exhausted = events_pb2.USAGE_STATUS_INTERRUPTED, events_pb2.USAGE_STATUS_CREDIT_EXHAUSTED
        self.status, self.outcome = exhausted if credit_is_out else interrupted, router_pb2.OUTCOME_OK

    @property
    def status_is_client_fault(self) -> bool:
        """Whether the upstream refused the request, and rightly."""
        return self.status == events_pb2.USAGE_STATUS_CLIENT_FAULT

    @property
    def charged(self) -> bool:
        """Whether it costs anything."""
        return self.tokens != NO_TOKENS or self.status == events_pb2.USAGE_STATUS_OK

    def client_fault(self) -> None:
        """The upstream refused the request, and rightly."""
        self.status, self.outcome = events_pb2.USAGE_STATUS_CLIENT_FAULT, router_pb2.OUTCOME_CLIENT_FAULT
        self.tokens, self.estimated = NO_TOKENS, False

    def upstream_fault(self, outcome: router_pb2.Outcome.ValueType = router_pb2.OUTCOME_UPSTREAM_FAULT) -> None:
        """The upstream answered that it, or our account there, cannot serve."""
        self.status, self.outcome = events_pb2.USAGE_STATUS_UPSTREAM_FAULT, outcome
        self.tokens, self.estimated = NO_TOKENS, False

    def failed(self, failed: UpstreamFailed) -> None:
        """There was no answer. A first connection that was dropped may have been an idle one that the upstream had
        just closed: that says nothing of the account, which may be tried again."""
        self.upstream_fault()
        if not failed.reached:
            self.status = None
        self.repeatable = failed.failure is Failure.DROPPED and self.number == ids.FIRST_ATTEMPT
        if self.repeatable:
            self.outcome = router_pb2.OUTCOME_UNUSED


class Delivered(msgspec.Struct, frozen=True):
    """What the client got of the answer. `first_byte_s` is on the monotonic clock, None while nothing was sent."""

    first_byte_s: float | None = None
    size_bytes: int = 0
    sha256: bytes = b""


_NOTHING: Final = Delivered()


class Exchange(msgspec.Struct):
    """One request and its attempts. Times are on the monotonic clock."""

    request_id: str
    created_ms: int
    began_s: float
    principal: Principal
    head: RequestHead
    api: Api
    request: Asked
    body: bytes
    forgotten: Callable[[], None]
    """To be called when the body is needed no more."""
    query: str
    hold: Hold
    pools: Sequence[str]
    """To pick from, in order."""
    times: Times
    conversation: bytes = b""
    without_thinking: bool = False
    """The body that is sent has lost the thinking of earlier turns."""
    without_responses: str = ""
    """The upstream account that has no Responses API after all."""
    body_sha256: bytes = b""
    likely_input_tokens: int = 0
    """A fair guess, for limits and where the upstream never says."""
    attempts: list[Attempt] = []
    body_s: float = 0.0
    """How long the client's body was waited for."""
    trace: Trace | None = None
    meter: StreamMeter | None = None
    """Of the stream that is being relayed."""

    def __post_init__(self) -> None:
        self.body_sha256 = hashlib.sha256(self.body).digest()
        self.likely_input_tokens = input_tokens_likely(self.hold.input_tokens)

    @property
    def likely_output_tokens(self) -> int:
        """A fair guess, for limits; corrected when the request has ended."""
        return min(self.hold.output_tokens, self.hold.stretch)

    def added_s(self, first_byte_s: float) -> float:
        """Of the time until the first byte of the answer, what was waited for no upstream and for no client."""
        waited_s = self.body_s
        for attempt in self.attempts:
            if attempt.began_s:
                waited_s += (attempt.content_s or attempt.ended_s) - attempt.began_s
        return max(0.0, first_byte_s - self.began_s - waited_s)

    def forget_body(self) -> None:
        """No further attempt will be made: a stream may last for minutes, and need not keep its request that long."""
        self.body = b""
        self.forgotten()

    def cut_off(self) -> None:
        """We end before the request does: the attempt under way was not given up by the client, but by us."""
        if self.attempts and self.attempts[-1].status == events_pb2.USAGE_STATUS_CLIENT_GONE:
            self.attempts[-1].status = events_pb2.USAGE_STATUS_INTERRUPTED

    def next_attempt(self) -> Attempt:
        """Begins another attempt."""
        number = ids.FIRST_ATTEMPT + len(self.attempts)
        attempt = Attempt(number, ids.event_id(self.request_id, number))
        self.attempts.append(attempt)
        return attempt

    def tried(self) -> list[str]:
        """Upstream accounts not to try again."""
        return [a.picked.upstream_account_id for a in self.attempts[:-1] if not a.repeatable]

    def settlement(self) -> auth_pb2.SettleItem:
        """What ends the hold."""
        item = auth_pb2.SettleItem(hold_id=self.request_id, tenant_id=self.principal.tenant_id)
        for attempt in self.attempts:
            if attempt.charged:
                _count(item.charged.add(), attempt.tokens, attempt.status)
        return item

    def renewal(self) -> auth_pb2.RenewItem:
        """What tells auth that the request is still under way."""
        return auth_pb2.RenewItem(
            hold_id=self.request_id,
            tenant_id=self.principal.tenant_id,
            key_id=self.principal.key_id,
            model=self.request.model,
            input_tokens=self.hold.input_tokens,
            output_tokens=self.hold.output_tokens,
            key_cap_nano=self.principal.spend_cap_nano,
            so_far=self.so_far(),
            policy=self.principal.policy,
        )

    def so_far(self) -> list[events_pb2.UsageEvent]:
        """What to book should this process be lost now: the attempts, the one under way as interrupted. The prompt is
        charged, for the upstream has it, and what was produced as far as it was seen."""
        return self._events(_NOTHING, so_far=True)

    def usage_events(self, delivered: Delivered) -> list[events_pb2.UsageEvent]:
        """One event for each attempt that reached an upstream (I1); what the client got belongs to the last. Counting
        tokens is no usage."""
        return self._events(delivered)

    def _events(self, delivered: Delivered, *, so_far: bool = False) -> list[events_pb2.UsageEvent]:
        if self.api is Api.COUNT_TOKENS:
            return []
        events = [
            self._event(attempt, attempt.status, so_far=so_far)
            for attempt in self.attempts
            if attempt.status is not None
        ]
        if events:
            self._end(events[-1], delivered)
        return events

    def _event(
        self, attempt: Attempt, status: events_pb2.UsageStatus.ValueType, *, so_far: bool
    ) -> events_pb2.UsageEvent:
        event, hold = attempt.event, self.hold
        if event is None:
            event = attempt.event = self._first_event(attempt)
        else:
            event.tokens.Clear()
        tokens, event.estimated = attempt.tokens, attempt.estimated
        if so_far and status == events_pb2.USAGE_STATUS_CLIENT_GONE:
            status, event.estimated = events_pb2.USAGE_STATUS_INTERRUPTED, True
            likely = self.likely_input_tokens
            tokens = self.meter.so_far(likely) if self.meter else Tokens(likely)
        event.status = status
        _count(event.tokens, tokens, status)
        event.held_nano = hold.held_nano
        if attempt.http_status:
            event.http_status = attempt.http_status
        if attempt.upstream_request_id:
            event.upstream_request_id = attempt.upstream_request_id
        event.grant_id, event.key_grant_id = hold.grant_id, hold.key_grant_id  # they may be others than at first
        if attempt.ended_s:
            event.duration_ms = max(0, int((attempt.ended_s - self.began_s) * 1000))
        event.final = False
        return event

    def _end(self, event: events_pb2.UsageEvent, delivered: Delivered) -> None:
        """The last event tells what the client got."""
        event.final = True
        if delivered.first_byte_s is not None:
            event.first_token_ms = max(1, int((delivered.first_byte_s - self.began_s) * 1000))
            event.delivered_bytes, event.response_sha256 = delivered.size_bytes, delivered.sha256

    def _first_event(self, attempt: Attempt) -> events_pb2.UsageEvent:
        """What stays as it is, however the attempt ends."""
        hold, head = self.hold, self.head
        return events_pb2.UsageEvent(
            event_id=attempt.lease_id,
            request_id=self.request_id,
            attempt=attempt.number,
            tenant_id=self.principal.tenant_id,
            key_id=self.principal.key_id,
            model=self.request.model,
            upstream_model=attempt.picked.upstream_model,
            upstream_account_id=attempt.picked.upstream_account_id,
            price_version=hold.price_version,
            created_ms=self.created_ms,
            stream=self.request.stream,
            multiplier_ppm=hold.multiplier_ppm,
            request_sha256=self.body_sha256,
            idempotency_key=head.idempotency_key,
            client_retry=head.client_retry,
        )


def _count(counts: types_pb2.TokenCounts, tokens: Tokens, status: events_pb2.UsageStatus.ValueType | None) -> None:
    """Writes tokens into an empty message that counts them."""
    counts.input = tokens.input  # even 0: it tells that there are counts
    if tokens.output:
        counts.output = tokens.output
    if tokens.cache_read:
        counts.cache_read = tokens.cache_read
    if tokens.cache_write_5m:
        counts.cache_write_5m = tokens.cache_write_5m
    if tokens.cache_write_1h:
        counts.cache_write_1h = tokens.cache_write_1h
    if status in _ANSWERED or (status in _LEFT and tokens.output):
        counts.requests = 1
