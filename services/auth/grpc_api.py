"""auth's gRPC service: decisions for edges; what operators call is in `management`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime

import psycopg
from nats.aio.client import Client
from psycopg_pool import PoolTimeout

from services.auth.brand_api import Context
from services.auth.grants import Grants
from services.auth.holds import Hold
from services.auth.management import Management
from services.auth.policies import limits_of
from services.auth.store import KeyRow, Store
from services.shared import clock
from services.shared.batching import answer_stream
from services.shared.errors import Kind, Refusal, to_detail
from services.shared.metrics import ITEMS, Distribution, Tally
from services.shared.sealing import Unsealable
from services.shared.telemetry import logger
from services.shared.tracing import Span, Tracer
from tollhouse.v1 import auth_pb2, types_pb2

_log = logger("grpc_api")


class AuthApi(Management):
    """Who is asking, is there credit for it, and do limits let it pass."""

    def __init__(
        self, store: Store, grants: Grants, nc: Client, tracer: Tracer, pepper: bytes, *other_peppers: bytes
    ) -> None:
        super().__init__(store, nc, pepper, *other_peppers)
        self._grants = grants
        self._tracer = tracer
        self.admissions = Tally()
        """By `admitted`, or by the kind of the refusal."""
        self.batches = Distribution(ITEMS)

    async def DecideStream(self, request_iterator: AsyncIterator[auth_pb2.AuthDecideRequest], context: Context) -> None:  # type: ignore[override]
        await answer_stream(request_iterator, context, self._decide)

    async def Decide(self, request: auth_pb2.AuthDecideRequest, context: Context) -> auth_pb2.AuthDecideResponse:
        response, later = self._decide(request)
        for awaitable in later:
            response.MergeFrom(await awaitable)
        response.sequence = request.sequence
        return response

    def _decide(
        self, request: auth_pb2.AuthDecideRequest
    ) -> tuple[auth_pb2.AuthDecideResponse, list[Awaitable[auth_pb2.AuthDecideResponse]]]:
        """What is known at once, and awaitables of what is not."""
        response = auth_pb2.AuthDecideResponse(sequence=request.sequence)
        later: list[Awaitable[auth_pb2.AuthDecideResponse]] = []
        self.batches.observe(len(request.admit) + len(request.settle) + len(request.renew) + len(request.extend))
        settles = request.settle[:]  # lists, here and below: upb's own iterators end with a costly exception
        for renew in request.renew[:]:
            renewed = self._grants.renew(renew, request.edge)
            grants = (renewed.grant_id, renewed.key_grant_id) if renewed else ("", "")
            response.renew.add(id=renew.id, grant_id=grants[0], key_grant_id=grants[1])
        # After the renewals, which would bring back what has ended. What ends a hold of this very batch waits for it;
        # everything else frees credit for the holds to come.
        early = [self._grants.settle(settle) for settle in settles]
        for admit in request.admit[:]:
            span = self._tracer.begin("admit", admit.traceparent) if admit.traceparent else None
            try:
                hold = self._grants.admit(admit, request.edge)
            except Refusal as refusal:
                self._add_refused(response, admit, to_detail(refusal), span)
                continue
            if isinstance(hold, Hold):
                self._add_admitted(response, admit, hold, span)
            else:
                later.append(self._admit_later(admit, hold, span))
        for extend in request.extend[:]:
            try:
                grown = self._grants.extend(extend)
            except Refusal as refusal:
                response.extend.add(id=extend.id, error=to_detail(refusal))
                continue
            if isinstance(grown, Hold):
                response.extend.add(id=extend.id, held_nano=grown.amount_nano)
            else:
                later.append(self._extend_later(extend.id, grown))
        for settle, done in zip(settles, early, strict=True):
            if not done:
                self._grants.settle(settle)
            response.settle.add(id=settle.id)
        if request.resolve:
            later.append(self._resolve(request.resolve))
        return response, later

    async def _admit_later(
        self, item: auth_pb2.AdmitItem, hold: Awaitable[Hold], span: Span | None
    ) -> auth_pb2.AuthDecideResponse:
        response = auth_pb2.AuthDecideResponse()
        try:
            self._add_admitted(response, item, await hold, span)
        except Exception as error:
            self._add_refused(response, item, _detail_of(error), span)
        except asyncio.CancelledError:
            if _cancelled_ourselves():
                raise
            self._add_refused(response, item, _settled_meanwhile(), span)
        return response

    def _add_admitted(
        self, response: auth_pb2.AuthDecideResponse, item: auth_pb2.AdmitItem, hold: Hold, span: Span | None
    ) -> None:
        rates = hold.rates
        if span is not None:
            span.end({"tollhouse.held_nano": hold.amount_nano})
        self.admissions["admitted",] += 1
        response.admit.add(
            id=item.id,
            grant_id=hold.grant_id,
            price_version=rates.price_version,
            held_nano=hold.amount_nano,
            key_grant_id=hold.key_grant_id,
            multiplier_ppm=rates.multiplier_ppm,
            limits=self._grants.limit_states(item),
        )

    def _add_refused(
        self,
        response: auth_pb2.AuthDecideResponse,
        item: auth_pb2.AdmitItem,
        error: types_pb2.ErrorDetail,
        span: Span | None,
    ) -> None:
        if span is not None:
            span.end(error=error.kind)
        self.admissions[error.kind,] += 1
        response.admit.add(id=item.id, error=error, limits=self._grants.limit_states(item))

    async def _extend_later(self, item_id: int, hold: Awaitable[Hold]) -> auth_pb2.AuthDecideResponse:
        response = auth_pb2.AuthDecideResponse()
        try:
            response.extend.add(id=item_id, held_nano=(await hold).amount_nano)
        except Exception as error:
            response.extend.add(id=item_id, error=_detail_of(error))
        except asyncio.CancelledError:
            if _cancelled_ourselves():
                raise
            response.extend.add(id=item_id, error=_settled_meanwhile())
        return response

    async def _resolve(self, items: Sequence[auth_pb2.ResolveItem]) -> auth_pb2.AuthDecideResponse:
        response = auth_pb2.AuthDecideResponse()
        try:
            found = await self._keys(items)
        except (psycopg.Error, PoolTimeout) as error:
            _log.warning("resolve_failed", error=repr(error))
            detail = to_detail(Refusal(Kind.AUTH_UNAVAILABLE, Kind.AUTH_UNAVAILABLE.meaning))
            for item in items:
                response.resolve.add(id=item.id, error=detail)
            return response
        now = _now()
        for item in items:
            key = found.get(item.key_hash)
            refusal = _refusal(key, now)
            result = response.resolve.add(id=item.id, tenant_id=key.tenant_id if key else "")
            if refusal is not None:
                result.error.CopyFrom(to_detail(refusal))
            elif key is not None:
                result.principal.CopyFrom(
                    types_pb2.Principal(
                        tenant_id=key.tenant_id,
                        key_id=key.key_id,
                        spend_cap_nano=key.spend_cap_nano,
                        group=key.group_name,
                        policy=_policy(key),
                        brand=key.brand or "",
                        models=key.models,
                        addresses=key.addresses,
                    )
                )
        return response

    async def _keys(self, items: Sequence[auth_pb2.ResolveItem]) -> dict[bytes, KeyRow]:
        """The keys that are asked for, by their callers' own hash. Those that are known by a hash under another pepper
        are kept under ours from now on, whichever their callers put first: so a change of the pepper goes one way,
        whoever hears of it first. A key is good under its old hash until that can be written. Raises psycopg.Error,
        PoolTimeout."""
        found = await self._store.keys_by_hash(
            [key_hash for item in items for key_hash in (item.key_hash, *item.other_hashes)]
        )
        moving: list[tuple[KeyRow, bytes]] = []
        not_noted: list[bytes] = []
        for item in items:
            known = next((found[each] for each in (item.key_hash, *item.other_hashes) if each in found), None)
            if known is None:
                continue
            found[item.key_hash] = known
            own = self._own_hash(item)
            if own is not None and own != known.key_hash:
                moving.append((known, own))
            elif own is not None and known.pepper_id != self._pepper_id:
                not_noted.append(own)
        try:
            for known, own in moving:
                await self._rehash(known, own)
            if not_noted:
                await self._store.note_pepper(not_noted, self._pepper_id)
        except (psycopg.Error, PoolTimeout) as error:
            _log.warning("keys_not_rehashed", error=repr(error))
        return found

    def _own_hash(self, item: auth_pb2.ResolveItem) -> bytes | None:
        """The hash under our own pepper; None where the caller does not know that one, or does not say."""
        if item.pepper_id == self._pepper_id:
            return item.key_hash
        others = zip(item.other_pepper_ids, item.other_hashes, strict=False)
        return next((key_hash for pepper_id, key_hash in others if pepper_id == self._pepper_id), None)

    async def _rehash(self, key: KeyRow, key_hash: bytes) -> None:
        sealed = await self._store.sealed_key(key.key_id)
        try:
            resealed = self._sealer.resealed(sealed, key.key_id) if sealed else None
        except Unsealable:
            resealed = None
        await self._store.rehash_key(key, key_hash, self._pepper_id, resealed or sealed)
        _log.info("key_rehashed", key_id=key.key_id)

    async def RecoverEdge(self, request: auth_pb2.RecoverEdgeRequest, context: Context) -> auth_pb2.RecoverEdgeResponse:
        if "/" not in request.edge:
            raise Refusal(Kind.INVALID_REQUEST, "edge must be a name, a slash, and the id of its life")
        released = self._grants.recover_edge(request.edge)
        _log.info("edge_recovered", edge=request.edge, released=released)
        return auth_pb2.RecoverEdgeResponse(released=released)

    async def GetCredit(self, request: auth_pb2.GetCreditRequest, context: Context) -> auth_pb2.GetCreditResponse:
        held_nano, holds = self._grants.held(request.tenant_id)
        return auth_pb2.GetCreditResponse(held_nano=held_nano, holds=holds)


def _refusal(key: KeyRow | None, now: datetime) -> Refusal | None:
    """Why a key is not accepted; None when it is."""
    if key is None:
        return Refusal(Kind.KEY_UNKNOWN, "the key is not known")
    if not key.tenant_enabled:
        return Refusal(Kind.TENANT_DISABLED, "the key's tenant is disabled")
    if not key.enabled:
        return Refusal(Kind.KEY_DISABLED, "the key is disabled")
    if key.expires_at is not None and key.expires_at <= now:
        return Refusal(Kind.KEY_EXPIRED, "the key has expired")
    return None


def _policy(key: KeyRow) -> bytes:
    return types_pb2.Policy(
        tenant_plan=key.tenant_plan or "",
        tenant_plan_limits=limits_of(key.tenant_plan_limits or []),
        tenant_limits=limits_of(key.tenant_limits),
        key_plan=key.plan or "",
        key_plan_limits=limits_of(key.plan_limits or []),
        key_limits=limits_of(key.limits),
        group=key.group_name,
        brand=key.brand or "",
    ).SerializeToString(deterministic=True)


def _detail_of(error: Exception) -> types_pb2.ErrorDetail:
    if isinstance(error, Refusal):
        return to_detail(error)
    _log.error("decision_failed", exc_info=error)
    return to_detail(Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))


def _cancelled_ourselves() -> bool:
    """Whether it is this task that is to end, rather than the hold that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _settled_meanwhile() -> types_pb2.ErrorDetail:
    return to_detail(Refusal(Kind.INTERNAL, "settled before it was admitted"))


def _now() -> datetime:
    return datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
