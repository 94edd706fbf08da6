"""auth's gRPC service: decisions for edges, management of tenants and keys."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from nats.aio.client import Client
from psycopg_pool import PoolTimeout

from services.auth.grants import Grants
from services.auth.holds import Hold
from services.auth.store import KeyRow, Store, TenantRow
from services.shared import bus, clock, ids, principal
from services.shared.batching import answer_stream
from services.shared.errors import Kind, Refusal, to_detail
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2, auth_pb2_grpc, types_pb2

_log = logger("grpc_api")

_TENANT_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME_LENGTH: Final = 50
_IDEMPOTENCY_KEY_LENGTH: Final = 200

Context = Any


class AuthApi(auth_pb2_grpc.AuthServiceServicer):
    """Who is asking, and is there credit for it."""

    def __init__(self, store: Store, grants: Grants, nc: Client, pepper: bytes) -> None:
        self._store = store
        self._grants = grants
        self._nc = nc
        self._pepper = pepper

    # ---- decisions ----

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
        for renew in request.renew:
            renewed = self._grants.renew(renew, request.edge)
            grants = (renewed.grant_id, renewed.key_grant_id) if renewed else ("", "")
            response.renew.add(id=renew.id, grant_id=grants[0], key_grant_id=grants[1])
        # After the renewals, which would bring back what has ended. What ends a hold of this very batch waits for it;
        # everything else frees credit for the holds to come.
        early = [self._grants.settle(settle) for settle in request.settle]
        for admit in request.admit:
            try:
                hold = self._grants.admit(admit, request.edge)
            except Refusal as refusal:
                response.admit.add(id=admit.id, error=to_detail(refusal))
                continue
            if isinstance(hold, Hold):
                _add_admitted(response, admit.id, hold)
            else:
                later.append(self._admit_later(admit.id, hold))
        for extend in request.extend:
            try:
                grown = self._grants.extend(extend)
            except Refusal as refusal:
                response.extend.add(id=extend.id, error=to_detail(refusal))
                continue
            if isinstance(grown, Hold):
                response.extend.add(id=extend.id, held_nano=grown.amount_nano)
            else:
                later.append(self._extend_later(extend.id, grown))
        for settle, done in zip(request.settle, early, strict=True):
            if not done:
                self._grants.settle(settle)
            response.settle.add(id=settle.id)
        if request.resolve:
            later.append(self._resolve(request.resolve))
        return response, later

    async def _admit_later(self, item_id: int, hold: Awaitable[Hold]) -> auth_pb2.AuthDecideResponse:
        response = auth_pb2.AuthDecideResponse()
        try:
            _add_admitted(response, item_id, await hold)
        except Exception as error:
            response.admit.add(id=item_id, error=_detail_of(error))
        except asyncio.CancelledError:
            if _cancelled_ourselves():
                raise
            response.admit.add(id=item_id, error=_settled_meanwhile())
        return response

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
            found = await self._store.keys_by_hash([item.key_hash for item in items])
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
                    types_pb2.Principal(tenant_id=key.tenant_id, key_id=key.key_id, spend_cap_nano=key.spend_cap_nano)
                )
        return response

    # ---- tenants ----

    async def CreateTenant(
        self, request: auth_pb2.CreateTenantRequest, context: Context
    ) -> auth_pb2.CreateTenantResponse:
        if not _TENANT_ID.fullmatch(request.tenant_id):
            raise Refusal(
                Kind.INVALID_REQUEST,
                "tenant_id must be lower-case letters, digits and hyphens, at most 63, and start and end with none",
            )
        await self._store.add_tenant(request.tenant_id, request.name or request.tenant_id)
        return auth_pb2.CreateTenantResponse(tenant=_tenant(await self._tenant_row(request.tenant_id)))

    async def ListTenants(self, request: auth_pb2.ListTenantsRequest, context: Context) -> auth_pb2.ListTenantsResponse:
        return auth_pb2.ListTenantsResponse(tenants=[_tenant(row) for row in await self._store.tenants()])

    async def SetTenantEnabled(
        self, request: auth_pb2.SetTenantEnabledRequest, context: Context
    ) -> auth_pb2.SetTenantEnabledResponse:
        await self._store.set_tenant_enabled(request.tenant_id, request.enabled)
        row = await self._tenant_row(request.tenant_id)
        await bus.announce(self._nc, bus.TENANT_CHANGED, request.tenant_id.encode())
        return auth_pb2.SetTenantEnabledResponse(tenant=_tenant(row))

    async def _tenant_row(self, tenant_id: str) -> TenantRow:
        row = await self._store.tenant(tenant_id)
        if row is None:
            raise Refusal(Kind.NOT_FOUND, f"there is no tenant {tenant_id!r}")
        return row

    # ---- keys ----

    async def CreateKey(self, request: auth_pb2.CreateKeyRequest, context: Context) -> auth_pb2.CreateKeyResponse:
        await self._tenant_row(request.tenant_id)
        if not request.name or len(request.name) > _NAME_LENGTH:
            raise Refusal(Kind.INVALID_REQUEST, f"name is needed, of at most {_NAME_LENGTH} characters")
        if request.expires_ms and request.expires_ms <= clock.now_ms():
            raise Refusal(Kind.INVALID_REQUEST, "expires_ms is in the past")
        if request.spend_cap_nano < 0 or len(request.idempotency_key) > _IDEMPOTENCY_KEY_LENGTH:
            raise Refusal(Kind.INVALID_REQUEST, "spend_cap_nano is below 0, or idempotency_key too long")
        secret = principal.new_key()
        expires_at = datetime.fromtimestamp(request.expires_ms / 1000, UTC) if request.expires_ms else None
        key_id, key_hash = f"key_{ids.ulid()}", principal.key_hash(secret, self._pepper)
        made_id = await self._store.add_key(
            key_id,
            request.tenant_id,
            request.name,
            key_hash,
            principal.hint(secret),
            expires_at,
            request.spend_cap_nano if request.HasField("spend_cap_nano") else None,
            request.idempotency_key or None,
        )
        key = _key(await self._key_row(made_id))
        if made_id != key_id:
            return auth_pb2.CreateKeyResponse(key=key, repeated=True)
        await bus.announce(self._nc, bus.KEY_CHANGED, key_hash)
        return auth_pb2.CreateKeyResponse(key=key, secret=secret)

    async def SetKeySpendCap(
        self, request: auth_pb2.SetKeySpendCapRequest, context: Context
    ) -> auth_pb2.SetKeySpendCapResponse:
        if request.spend_cap_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "spend_cap_nano is below 0")
        cap_nano = request.spend_cap_nano if request.HasField("spend_cap_nano") else None
        await self._store.set_key_spend_cap(request.key_id, cap_nano)
        row = await self._key_row(request.key_id)
        await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.SetKeySpendCapResponse(key=_key(row))

    async def RecoverEdge(self, request: auth_pb2.RecoverEdgeRequest, context: Context) -> auth_pb2.RecoverEdgeResponse:
        if "/" not in request.edge:
            raise Refusal(Kind.INVALID_REQUEST, "edge must be a name, a slash, and the id of its life")
        released = self._grants.recover_edge(request.edge)
        _log.info("edge_recovered", edge=request.edge, released=released)
        return auth_pb2.RecoverEdgeResponse(released=released)

    async def GetCredit(self, request: auth_pb2.GetCreditRequest, context: Context) -> auth_pb2.GetCreditResponse:
        held_nano, holds = self._grants.held(request.tenant_id)
        return auth_pb2.GetCreditResponse(held_nano=held_nano, holds=holds)

    async def ListKeys(self, request: auth_pb2.ListKeysRequest, context: Context) -> auth_pb2.ListKeysResponse:
        return auth_pb2.ListKeysResponse(keys=[_key(row) for row in await self._store.keys(request.tenant_id)])

    async def SetKeyEnabled(
        self, request: auth_pb2.SetKeyEnabledRequest, context: Context
    ) -> auth_pb2.SetKeyEnabledResponse:
        await self._store.set_key_enabled(request.key_id, request.enabled)
        row = await self._key_row(request.key_id)
        await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.SetKeyEnabledResponse(key=_key(row))

    async def DeleteKey(self, request: auth_pb2.DeleteKeyRequest, context: Context) -> auth_pb2.DeleteKeyResponse:
        row = await self._store.key(request.key_id)
        if row is not None:
            await self._store.delete_key(request.key_id)
            await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.DeleteKeyResponse()

    async def _key_row(self, key_id: str) -> KeyRow:
        row = await self._store.key(key_id)
        if row is None:
            raise Refusal(Kind.NOT_FOUND, f"there is no key {key_id!r}")
        return row


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


def _add_admitted(response: auth_pb2.AuthDecideResponse, item_id: int, hold: Hold) -> None:
    rates = hold.rates
    response.admit.add(
        id=item_id,
        grant_id=hold.grant_id,
        price_version=rates.price_version,
        held_nano=hold.amount_nano,
        key_grant_id=hold.key_grant_id,
        multiplier_ppm=rates.multiplier_ppm,
    )


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


def _ms(at: datetime | None) -> int:
    return 0 if at is None else int(at.timestamp() * 1000)


def _tenant(row: TenantRow) -> auth_pb2.Tenant:
    return auth_pb2.Tenant(tenant_id=row.tenant_id, name=row.name, enabled=row.enabled, created_ms=_ms(row.created_at))


def _key(row: KeyRow) -> auth_pb2.Key:
    return auth_pb2.Key(
        key_id=row.key_id,
        tenant_id=row.tenant_id,
        name=row.name,
        hint=row.hint,
        enabled=row.enabled,
        created_ms=_ms(row.created_at),
        expires_ms=_ms(row.expires_at),
        spend_cap_nano=row.spend_cap_nano,
    )
