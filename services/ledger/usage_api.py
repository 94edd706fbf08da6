"""The ledger's gRPC service for everybody who may read usage."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg_pool import PoolTimeout

from services.ledger.feed import Feed
from services.ledger.periods import DAY, HOUR, WHOLE, span
from services.ledger.receipts import Signer
from services.ledger.records import BookedAttempt, Position, attempt_message, requests, usage_of
from services.ledger.settings import LedgerSettings
from services.ledger.settlement import instant, unix_ms
from services.ledger.store.balances import BalanceStore
from services.ledger.store.tokens import ReceiptKeyStore
from services.ledger.store.totals import Bucket, RollupFilter, TotalStore
from services.ledger.store.usage import UsageFilter, UsageStore
from services.ledger.tokens import caller
from services.ledger.waiters import Waiters
from services.shared import clock, ids
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import types_pb2, usage_pb2, usage_pb2_grpc

_FRESH_MS: Final = 3_600_000  # a request may run this long, and its event comes at its end
_RECHECK_S: Final = 0.25  # another replica may book what this one's callers wait for
_ANSWER_S: Final = 0.05  # what is kept of a caller's deadline for the way back
_PAGE: Final = 1000
_USUAL_PAGE: Final = 100
_WATCH_PAGE: Final = 500
_HEARTBEAT_S: Final = 10.0
_BUCKETS: Final = 20_000
_PERIODS: Final = {
    usage_pb2.USAGE_PERIOD_HOUR: HOUR,
    usage_pb2.USAGE_PERIOD_DAY: DAY,
    usage_pb2.USAGE_PERIOD_WHOLE: WHOLE,
}
_GROUPS: Final = {
    usage_pb2.USAGE_GROUP_TENANT: "tenant_id",
    usage_pb2.USAGE_GROUP_KEY: "key_id",
    usage_pb2.USAGE_GROUP_MODEL: "model",
    usage_pb2.USAGE_GROUP_UPSTREAM_ACCOUNT: "upstream_account_id",
}

Context = Any


class UsageApi(usage_pb2_grpc.UsageServiceServicer):
    """What was used and what is left."""

    def __init__(
        self,
        usage: UsageStore,
        totals: TotalStore,
        balances: BalanceStore,
        receipt_keys: ReceiptKeyStore,
        signer: Signer,
        waiters: Waiters,
        feed: Feed,
        settings: LedgerSettings,
    ) -> None:
        self._usage = usage
        self._totals = totals
        self._balances = balances
        self._receipt_keys = receipt_keys
        self._signer = signer
        self._waiters = waiters
        self._feed = feed
        self._wait_max_ms = settings.usage_wait_max_ms

    async def GetUsage(self, request: usage_pb2.GetUsageRequest, context: Context) -> usage_pb2.GetUsageResponse:
        attempts = await self._settled(request.request_id, request.tenant_id, request.wait_ms, context)
        return usage_pb2.GetUsageResponse(usage=usage_of(attempts, caller.get().reads_all))

    async def BatchGetUsage(
        self, request: usage_pb2.BatchGetUsageRequest, context: Context
    ) -> usage_pb2.BatchGetUsageResponse:
        if len(request.request_ids) > _PAGE:
            raise Refusal(Kind.INVALID_REQUEST, f"request_ids: more than {_PAGE}")
        tenant_id = caller.get().tenant(request.tenant_id)
        asked = list(dict.fromkeys(request.request_ids))
        known = [(request_id, instant(ms)) for request_id in asked if (ms := ids.created_ms(request_id)) is not None]
        rows = await self._usage.of_requests(known) if known else []
        found = {
            usage.request_id: usage
            for usage in requests(rows, caller.get().reads_all)
            if tenant_id in ("", usage.tenant_id)
        }
        return usage_pb2.BatchGetUsageResponse(
            usages=[found[request_id] for request_id in asked if request_id in found],
            missing_request_ids=[request_id for request_id in asked if request_id not in found],
        )

    async def ListUsage(self, request: usage_pb2.ListUsageRequest, context: Context) -> usage_pb2.ListUsageResponse:
        tenant_id = caller.get().tenant(request.tenant_id)
        if not tenant_id:
            raise Refusal(Kind.INVALID_REQUEST, "tenant_id is needed")
        if request.page_size > _PAGE:
            raise Refusal(Kind.INVALID_REQUEST, f"page_size: at most {_PAGE}")
        size = request.page_size or _USUAL_PAGE
        wanted = UsageFilter(
            tenant_id,
            _text(request.key_id, "key_id"),
            _text(request.model, "model"),
            _text(request.idempotency_key, "idempotency_key"),
            request.status,
            _instant(request.from_ms, "from_ms"),
            _instant(request.to_ms, "to_ms"),
            _position(request.page_token),
        )
        usages = list(requests(await self._usage.page(wanted, size + 1), caller.get().reads_all))
        token = usages[size - 1].request_id if len(usages) > size else ""
        return usage_pb2.ListUsageResponse(usages=usages[:size], next_page_token=token)

    async def SummarizeUsage(
        self, request: usage_pb2.SummarizeUsageRequest, context: Context
    ) -> usage_pb2.SummarizeUsageResponse:
        who = caller.get()
        tenant_id = who.tenant(request.tenant_id)
        period = _PERIODS.get(request.period)
        if period is None:
            raise Refusal(Kind.INVALID_REQUEST, "period must be hour, day or whole")
        groups = _groups(request.groups)
        if "upstream_account_id" in groups and not who.reads_all:
            raise Refusal(Kind.TOKEN_SCOPE, "groups: upstream accounts are for those who read all tenants")
        from_at, to_at = _instant(request.from_ms, "from_ms"), _instant(request.to_ms, "to_ms")
        try:
            begin, end = span(period, from_at, to_at, instant(clock.now_ms()))
        except (ValueError, OverflowError) as error:
            raise Refusal(Kind.INVALID_REQUEST, str(error)) from None
        only = RollupFilter(begin, end, tenant_id, _text(request.key_id, "key_id"), _text(request.model, "model"))
        rows = await self._totals.buckets(period.name, groups, only, _BUCKETS + 1)
        if len(rows) > _BUCKETS:
            raise Refusal(Kind.INVALID_REQUEST, f"more than {_BUCKETS} buckets: ask for less time or fewer groups")
        return usage_pb2.SummarizeUsageResponse(buckets=[_bucket(row, who.reads_all) for row in rows])

    async def WatchUsage(
        self, request: usage_pb2.WatchUsageRequest, context: Context
    ) -> AsyncIterator[usage_pb2.WatchUsageResponse]:
        who = caller.get()
        tenant_id = who.tenant(request.tenant_id)
        with self._feed.watching():
            try:
                head = await self._usage.head()
                position = _begin(request, head)
                sent_s = clock.monotonic_s() - _HEARTBEAT_S  # the first message comes at once: it says where this began
                while True:
                    rows = await self._usage.booked_after(position, head, tenant_id, _WATCH_PAGE)
                    full = len(rows) == _WATCH_PAGE
                    position = Position.of(rows[-1]) if full else max(position, Position.behind(head))
                    if rows or clock.monotonic_s() - sent_s >= _HEARTBEAT_S:
                        attempts = [attempt_message(row, who.reads_all) for row in rows]
                        yield usage_pb2.WatchUsageResponse(attempts=attempts, resume_token=position.token())
                        sent_s = clock.monotonic_s()
                    if not full:
                        left_s = sent_s + _HEARTBEAT_S - clock.monotonic_s()
                        head = await self._feed.beyond(max(head, position.transaction_id - 1), left_s)
            except (psycopg.OperationalError, PoolTimeout) as error:
                raise Refusal(Kind.LEDGER_UNAVAILABLE, "Postgres is away; go on with the resume token") from error

    async def GetBalance(self, request: usage_pb2.GetBalanceRequest, context: Context) -> usage_pb2.GetBalanceResponse:
        tenant_id = caller.get().tenant(request.tenant_id)
        if not tenant_id:
            raise Refusal(Kind.INVALID_REQUEST, "tenant_id is needed")
        balance, granted = await self._balances.balance(tenant_id)
        held = await self._usage.held_nano(tenant_id)
        return usage_pb2.GetBalanceResponse(
            balance_nano=balance, granted_nano=granted, held_nano=held, available_nano=max(0, balance - held)
        )

    async def GetKeySpend(
        self, request: usage_pb2.GetKeySpendRequest, context: Context
    ) -> usage_pb2.GetKeySpendResponse:
        if len(request.key_ids) > _PAGE:
            raise Refusal(Kind.INVALID_REQUEST, f"key_ids: at most {_PAGE}")
        tenant_id = caller.get().tenant(request.tenant_id)
        return usage_pb2.GetKeySpendResponse(spent_nano=await self._balances.key_spend(tenant_id, request.key_ids))

    async def GetReceipt(self, request: usage_pb2.GetReceiptRequest, context: Context) -> usage_pb2.GetReceiptResponse:
        attempts = await self._settled(request.request_id, request.tenant_id, request.wait_ms, context)
        if not attempts[-1].final:
            raise _unknown(request.request_id)
        return usage_pb2.GetReceiptResponse(receipt=self._signer.sign(usage_of(attempts, reads_all=False)))

    async def GetReceiptKeys(
        self, request: usage_pb2.GetReceiptKeysRequest, context: Context
    ) -> usage_pb2.GetReceiptKeysResponse:
        return usage_pb2.GetReceiptKeysResponse(
            keys=[
                usage_pb2.ReceiptKey(kid=row.kid, public_key=row.public_key, created_ms=unix_ms(row.created_at))
                for row in await self._receipt_keys.newest()
            ]
        )

    async def _settled(self, request_id: str, tenant_id: str, wait_ms: int, context: Context) -> list[BookedAttempt]:
        """A request's attempts, waited for while it is fresh. Raises Refusal where there is nothing to see."""
        readable = caller.get().tenant(tenant_id)
        created_ms = ids.created_ms(request_id)
        if created_ms is None:
            raise _unknown(request_id)
        fresh = abs(clock.now_ms() - created_ms) < _FRESH_MS
        wait_s = min(wait_ms, self._wait_max_ms) / clock.MS_PER_S if fresh else 0
        if (left_s := context.time_remaining()) is not None:
            wait_s = min(wait_s, left_s - _ANSWER_S)
        attempts = await self._complete(request_id, instant(created_ms), wait_s)
        if not attempts or readable not in ("", attempts[0].tenant_id):
            raise _unknown(request_id)
        return attempts

    async def _complete(self, request_id: str, created_at: datetime, wait_s: float) -> list[BookedAttempt]:
        """Looks until the request's last attempt is booked or the wait is over."""
        deadline = clock.monotonic_s() + wait_s
        while True:
            attempts = await self._usage.of_requests([(request_id, created_at)])
            left_s = deadline - clock.monotonic_s()
            if (attempts and attempts[-1].final) or left_s <= 0:
                return attempts
            await self._waiters.wait(request_id, min(left_s, _RECHECK_S))


def _unknown(request_id: str) -> Refusal:
    return Refusal(Kind.USAGE_UNKNOWN, f"there is no request {request_id!r}")


def _begin(request: usage_pb2.WatchUsageRequest, head: int) -> Position:
    if request.resume_token:
        try:
            return Position.from_token(request.resume_token)
        except ValueError:
            raise Refusal(Kind.INVALID_REQUEST, "resume_token is not one of ours") from None
    return Position(0) if request.start == usage_pb2.WATCH_START_BEGINNING else Position.behind(head)


def _groups(asked: Sequence[usage_pb2.UsageGroup.ValueType]) -> list[str]:
    if not all(group in _GROUPS for group in asked):
        raise Refusal(Kind.INVALID_REQUEST, "groups: tenant, key, model or upstream_account")
    return [_GROUPS[group] for group in asked]


def _position(page_token: str) -> tuple[datetime, str] | None:
    if not page_token:
        return None
    created_ms = ids.created_ms(page_token)
    if created_ms is None:
        raise Refusal(Kind.INVALID_REQUEST, "page_token is not one of ours")
    return instant(created_ms), page_token


def _instant(unix_ms_: int, name: str) -> datetime | None:
    if not 0 <= unix_ms_ <= ids.LAST_MS:
        raise Refusal(Kind.INVALID_REQUEST, f"{name} is no instant")
    return instant(unix_ms_) if unix_ms_ else None


def _text(value: str, name: str) -> str:
    if "\0" in value:  # which Postgres takes in no text
        raise Refusal(Kind.INVALID_REQUEST, f"{name} holds a NUL character")
    return value


def _bucket(row: Bucket, reads_all: bool) -> usage_pb2.UsageBucket:
    bucket = usage_pb2.UsageBucket(
        start_ms=unix_ms(row.start_at),
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        model=row.model,
        upstream_account_id=row.upstream_account_id,
        requests=row.requests,
        attempts=row.attempts,
        estimated=row.estimated,
        tokens=types_pb2.TokenCounts(
            input=row.input_tokens,
            output=row.output_tokens,
            cache_read=row.cache_read_tokens,
            cache_write_5m=row.cache_write_5m_tokens,
            cache_write_1h=row.cache_write_1h_tokens,
        ),
        cost_nano=row.cost_nano,
    )
    if reads_all:
        bucket.upstream_cost_nano = row.upstream_cost_nano
        bucket.margin_nano = row.cost_nano - row.upstream_cost_nano
    return bucket
