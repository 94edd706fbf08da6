"""The ledger's gRPC service for auth and operators: credit, orphans, whether the books are right."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from services.ledger.dead_letters import DeadLetters
from services.ledger.fleet import Fleet
from services.ledger.lag import Lag
from services.ledger.price_rows import PriceRows
from services.ledger.settings import LedgerSettings
from services.ledger.settlement import Poison, instant, settle
from services.ledger.store.booking import BookingStore
from services.ledger.store.grants import GrantStore
from services.ledger.store.reconciliation import Reconciliation
from services.ledger.store.verification import Verification
from services.shared import clock
from services.shared.errors import Kind, Refusal
from services.shared.telemetry import logger
from tollhouse.v1 import ledger_pb2, ledger_pb2_grpc

_log = logger("grpc_api")

_ABANDONED_S: Final = 5.0
"""What edges need, and more, to tell a holder's new life which requests are under way."""
_DEAD_LISTED: Final = 1000
_RECONCILED_MS: Final = 30 * 24 * 3600 * clock.MS_PER_S

Context = Any


class LedgerApi(ledger_pb2_grpc.LedgerServiceServicer):
    """Credit, and the books."""

    def __init__(
        self,
        grants: GrantStore,
        bookings: BookingStore,
        verification: Verification,
        dead_letters: DeadLetters,
        reconciliation: Reconciliation,
        lag: Lag,
        fleet: Fleet,
        price_rows: PriceRows,
        announce: Callable[[int, list[str]], Awaitable[None]],
        settings: LedgerSettings,
    ) -> None:
        self._grants = grants
        self._bookings = bookings
        self._verification = verification
        self._dead_letters = dead_letters
        self._reconciliation = reconciliation
        self._lag = lag
        self._fleet = fleet
        self._price_rows = price_rows
        self._announce = announce
        self._ttl_s = settings.grant_ttl_s

    async def RaiseGrant(
        self, request: ledger_pb2.RaiseGrantRequest, context: Context
    ) -> ledger_pb2.RaiseGrantResponse:
        if not request.grant_id or not request.tenant_id or not request.holder or request.want_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "grant_id, tenant_id, holder and want_nano are needed")
        raised = await self._grants.raise_grant(
            request.grant_id,
            request.tenant_id,
            request.holder,
            request.want_nano,
            self._ttl_s,
            request.key_id,
            request.key_cap_nano,
            request.granted_nano,
            request.sequence,
        )
        return ledger_pb2.RaiseGrantResponse(
            granted_nano=raised.granted_nano,
            available_nano=raised.available_nano,
            elsewhere_nano=raised.elsewhere_nano,
            abandoned_nano=raised.abandoned_nano,
            lost=raised.lost,
        )

    async def RenewGrants(
        self, request: ledger_pb2.RenewGrantsRequest, context: Context
    ) -> ledger_pb2.RenewGrantsResponse:
        if len(request.held_nano) != len(request.grant_ids):
            raise Refusal(Kind.INVALID_REQUEST, "held_nano must say as many amounts as there are grant_ids")
        alive = await self._grants.renew_grants(request.holder, request.grant_ids, request.held_nano, self._ttl_s)
        return ledger_pb2.RenewGrantsResponse(grant_ids=alive, ttl_ms=int(self._ttl_s * clock.MS_PER_S))

    async def LowerGrant(
        self, request: ledger_pb2.LowerGrantRequest, context: Context
    ) -> ledger_pb2.LowerGrantResponse:
        if request.committed_nano < 0 or request.settled_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "committed_nano or settled_nano is below 0")
        await self._grants.lower_grant(request.grant_id, request.committed_nano, request.settled_nano, request.sequence)
        return ledger_pb2.LowerGrantResponse()

    async def AbandonGrants(
        self, request: ledger_pb2.AbandonGrantsRequest, context: Context
    ) -> ledger_pb2.AbandonGrantsResponse:
        if not request.holder:
            raise Refusal(Kind.INVALID_REQUEST, "holder is needed")
        abandoned = await self._grants.abandon_grants(request.holder, _ABANDONED_S, request.before_grant_id)
        if abandoned:
            _log.warning("grants_abandoned", holder=request.holder, grants=abandoned)
        return ledger_pb2.AbandonGrantsResponse()

    # ---- usage that did not come over JetStream ----

    async def BookOrphans(
        self, request: ledger_pb2.BookOrphansRequest, context: Context
    ) -> ledger_pb2.BookOrphansResponse:
        rates = await self._price_rows.rates({event.price_version for event in request.events})
        try:
            rows = [settle(event, rates, self._price_rows.costs) for event in request.events]
        except Poison as poison:
            raise Refusal(Kind.INVALID_REQUEST, str(poison)) from None
        booked = await self._bookings.book(rows)
        if booked.events:
            _log.warning("orphans_booked", events=booked.events)
        await self._announce(booked.transaction_id, [row.request_id for row in rows if row.final])
        return ledger_pb2.BookOrphansResponse(booked=booked.events)

    async def VerifyBooks(
        self, request: ledger_pb2.VerifyBooksRequest, context: Context
    ) -> ledger_pb2.VerifyBooksResponse:
        checks = await self._verification.run()
        return ledger_pb2.VerifyBooksResponse(
            checks=[ledger_pb2.BooksCheck(name=check.name, differences=check.differences) for check in checks]
        )

    async def GetReconciliation(
        self, request: ledger_pb2.GetReconciliationRequest, context: Context
    ) -> ledger_pb2.GetReconciliationResponse:
        from_ms = request.from_ms or clock.now_ms() - _RECONCILED_MS
        if not 0 <= from_ms <= clock.now_ms():
            raise Refusal(Kind.INVALID_REQUEST, "from_ms is in the future")
        sums, behind = await self._reconciliation.since(instant(from_ms)), self._lag.behind
        return ledger_pb2.GetReconciliationResponse(
            shortfall_nano=sums.shortfall_nano,
            attempts=sums.attempts,
            estimated=sums.estimated,
            orphaned=sums.orphaned,
            unbooked_messages=behind.messages,
            lag_ms=behind.oldest_ms,
            dead_letters=behind.dead_letters,
            tenants=[
                ledger_pb2.TenantReconciliation(
                    tenant_id=tenant.tenant_id,
                    shortfall_nano=tenant.shortfall_nano,
                    estimated=tenant.estimated,
                    attempts=tenant.attempts,
                )
                for tenant in sums.tenants
            ],
        )

    async def ListReplicas(
        self, request: ledger_pb2.ListReplicasRequest, context: Context
    ) -> ledger_pb2.ListReplicasResponse:
        now_s = clock.monotonic_s()
        return ledger_pb2.ListReplicasResponse(
            replicas=[
                ledger_pb2.Replica(
                    service=heard.service,
                    name=heard.announcement.replica,
                    address=heard.announcement.address,
                    leaving=heard.announcement.leaving,
                    silent_ms=int((now_s - heard.at_s) * clock.MS_PER_S),
                    figures=heard.announcement.figures,
                )
                for heard in self._fleet.members(now_s)
            ]
        )

    async def ListDeadLetters(
        self, request: ledger_pb2.ListDeadLettersRequest, context: Context
    ) -> ledger_pb2.ListDeadLettersResponse:
        letters = await self._dead_letters.list(min(request.limit or _DEAD_LISTED, _DEAD_LISTED))
        return ledger_pb2.ListDeadLettersResponse(letters=letters)

    async def ReplayDeadLetters(
        self, request: ledger_pb2.ReplayDeadLettersRequest, context: Context
    ) -> ledger_pb2.ReplayDeadLettersResponse:
        return ledger_pb2.ReplayDeadLettersResponse(replayed=await self._dead_letters.replay(request.sequences))
