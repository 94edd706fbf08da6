"""auth's gRPC service, what operators call: tenants, keys, plans; brands are in `brand_api`."""

import re
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final, TypeVar

from nats.aio.client import Client
from psycopg.errors import ForeignKeyViolation

from services.auth import access, policies
from services.auth.brand_api import BrandManagement, Context, key_message, ms_of
from services.auth.sealed_keys import sealer_of
from services.auth.store import KeyForm, NewKey, PlanRow, Store, TenantFilter, TenantRow
from services.shared import bus, clock, ids, principal
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2

_TENANT_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME_LENGTH: Final = 50
_IDEMPOTENCY_KEY_LENGTH: Final = 200
_PAGE_MOST: Final = 500
_SEARCH_LENGTH: Final = 100

T = TypeVar("T")


class Management(BrandManagement):
    """Who there is, and what they may."""

    def __init__(self, store: Store, nc: Client, pepper: bytes, *others: bytes) -> None:
        super().__init__(store, nc, sealer_of(pepper, *others))
        self._pepper = pepper
        self._pepper_id = principal.pepper_id(pepper)

    # ---- tenants ----

    async def CreateTenant(
        self, request: auth_pb2.CreateTenantRequest, context: Context
    ) -> auth_pb2.CreateTenantResponse:
        if not _TENANT_ID.fullmatch(request.tenant_id):
            raise Refusal(
                Kind.INVALID_REQUEST,
                "tenant_id must be lower-case letters, digits and hyphens, at most 63, and start and end with none",
            )
        added = self._store.add_tenant(request.tenant_id, request.name or request.tenant_id, request.plan or None)
        await _with_plan(request.plan, added)
        return auth_pb2.CreateTenantResponse(tenant=_tenant(await self._tenant_row(request.tenant_id)))

    async def GetTenant(self, request: auth_pb2.GetTenantRequest, context: Context) -> auth_pb2.GetTenantResponse:
        return auth_pb2.GetTenantResponse(tenant=_tenant(await self._tenant_row(request.tenant_id)))

    async def ListTenants(self, request: auth_pb2.ListTenantsRequest, context: Context) -> auth_pb2.ListTenantsResponse:
        size = request.page_size
        if size > _PAGE_MOST:
            raise Refusal(Kind.INVALID_REQUEST, f"page_size may be at most {_PAGE_MOST}")
        wanted = TenantFilter(
            request.search[:_SEARCH_LENGTH], request.plan, request.disabled, request.newest_first, request.page_token
        )
        rows, total = await self._store.tenants(wanted, size + 1 if size else None)
        shown = rows[:size] if size else rows
        return auth_pb2.ListTenantsResponse(
            tenants=[_tenant(row) for row in shown],
            next_page_token=shown[-1].tenant_id if len(rows) > len(shown) else "",
            total=total,
        )

    async def SetTenantEnabled(
        self, request: auth_pb2.SetTenantEnabledRequest, context: Context
    ) -> auth_pb2.SetTenantEnabledResponse:
        await self._store.set_tenant_enabled(request.tenant_id, request.enabled)
        row = await self._tenant_row(request.tenant_id)
        await bus.announce(self._nc, bus.TENANT_CHANGED, request.tenant_id.encode())
        return auth_pb2.SetTenantEnabledResponse(tenant=_tenant(row))

    async def SetTenantPolicy(
        self, request: auth_pb2.SetTenantPolicyRequest, context: Context
    ) -> auth_pb2.SetTenantPolicyResponse:
        policies.check_limits(request.limits)
        limits = policies.stored(request.limits)
        await _with_plan(request.plan, self._store.set_tenant_policy(request.tenant_id, request.plan or None, limits))
        row = await self._tenant_row(request.tenant_id)
        await bus.announce(self._nc, bus.TENANT_CHANGED, request.tenant_id.encode())
        return auth_pb2.SetTenantPolicyResponse(tenant=_tenant(row))

    async def _tenant_row(self, tenant_id: str) -> TenantRow:
        row = await self._store.tenant(tenant_id)
        if row is None:
            raise Refusal(Kind.NOT_FOUND, f"there is no tenant {tenant_id!r}")
        return row

    # ---- keys ----

    async def CreateKey(self, request: auth_pb2.CreateKeyRequest, context: Context) -> auth_pb2.CreateKeyResponse:
        await self._tenant_row(request.tenant_id)
        _check_key_name(request.name)
        policies.check_limits(request.limits)
        _check_expiry(request.expires_ms)
        if request.spend_cap_nano < 0 or len(request.idempotency_key) > _IDEMPOTENCY_KEY_LENGTH:
            raise Refusal(Kind.INVALID_REQUEST, "spend_cap_nano is below 0, or idempotency_key too long")
        group = request.group or policies.DEFAULT_GROUP
        policies.check_name("group", group)
        brand = await self._brand_for(request.brand)
        secret = principal.new_key(brand.key_prefix)
        key_id = f"key_{ids.ulid()}"
        key = NewKey(
            key_id=key_id,
            tenant_id=request.tenant_id,
            name=request.name,
            key_hash=principal.key_hash(secret, self._pepper, (brand.key_prefix,)),
            pepper_id=self._pepper_id,
            hint=principal.hint(secret, brand.key_prefix, brand.mask),
            expires_at=_expiry(request.expires_ms),
            spend_cap_nano=request.spend_cap_nano if request.HasField("spend_cap_nano") else None,
            idempotency_key=request.idempotency_key or None,
            group_name=group,
            plan=request.plan or None,
            brand=brand.name or None,
            models=access.listed_models(request.models),
            addresses=access.listed_addresses(request.addresses),
            sealed=self._sealer.seal(secret, key_id) if brand.reveal else None,
            limits=policies.stored(request.limits),
        )
        made_id = await _with_plan(request.plan, self._store.add_key(key))
        made = key_message(await self._key_row(made_id))
        if made_id != key_id:
            return auth_pb2.CreateKeyResponse(key=made, repeated=True)
        await bus.announce(self._nc, bus.KEY_CHANGED, key.key_hash)
        return auth_pb2.CreateKeyResponse(key=made, secret=secret)

    async def UpdateKey(self, request: auth_pb2.UpdateKeyRequest, context: Context) -> auth_pb2.UpdateKeyResponse:
        key = request.key
        row = await self._key_row(key.key_id)
        if key.tenant_id not in ("", row.tenant_id):
            raise Refusal(Kind.NOT_FOUND, f"there is no key {key.key_id!r}")
        _check_key_name(key.name)
        if key.expires_ms != ms_of(row.expires_at):
            _check_expiry(key.expires_ms)
        if key.spend_cap_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "spend_cap_nano is below 0", param="spend_cap_nano")
        group = key.group or policies.DEFAULT_GROUP
        policies.check_name("group", group)
        policies.check_limits(key.limits)
        form = KeyForm(
            key_id=key.key_id,
            name=key.name,
            enabled=key.enabled,
            expires_at=_expiry(key.expires_ms),
            spend_cap_nano=key.spend_cap_nano if key.HasField("spend_cap_nano") else None,
            group_name=group,
            plan=key.plan or None,
            limits=policies.stored(key.limits),
            models=access.listed_models(key.models),
            addresses=access.listed_addresses(key.addresses),
        )
        await _with_plan(key.plan, self._store.update_key(form))
        await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.UpdateKeyResponse(key=key_message(await self._key_row(key.key_id)))

    async def SetKeySpendCap(
        self, request: auth_pb2.SetKeySpendCapRequest, context: Context
    ) -> auth_pb2.SetKeySpendCapResponse:
        if request.spend_cap_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "spend_cap_nano is below 0")
        cap_nano = request.spend_cap_nano if request.HasField("spend_cap_nano") else None
        await self._store.set_key_spend_cap(request.key_id, cap_nano)
        row = await self._key_row(request.key_id)
        await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.SetKeySpendCapResponse(key=key_message(row))

    async def SetKeyPolicy(
        self, request: auth_pb2.SetKeyPolicyRequest, context: Context
    ) -> auth_pb2.SetKeyPolicyResponse:
        group = request.group or policies.DEFAULT_GROUP
        policies.check_name("group", group)
        policies.check_limits(request.limits)
        limits = policies.stored(request.limits)
        await _with_plan(request.plan, self._store.set_key_policy(request.key_id, group, request.plan or None, limits))
        row = await self._key_row(request.key_id)
        await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.SetKeyPolicyResponse(key=key_message(row))

    async def ListKeys(self, request: auth_pb2.ListKeysRequest, context: Context) -> auth_pb2.ListKeysResponse:
        return auth_pb2.ListKeysResponse(keys=[key_message(row) for row in await self._store.keys(request.tenant_id)])

    async def GetKey(self, request: auth_pb2.GetKeyRequest, context: Context) -> auth_pb2.GetKeyResponse:
        row = await self._key_row(request.key_id)
        if request.tenant_id not in ("", row.tenant_id):
            raise Refusal(Kind.NOT_FOUND, f"there is no key {request.key_id!r}")
        return auth_pb2.GetKeyResponse(key=key_message(row))

    async def SetKeyEnabled(
        self, request: auth_pb2.SetKeyEnabledRequest, context: Context
    ) -> auth_pb2.SetKeyEnabledResponse:
        await self._store.set_key_enabled(request.key_id, request.enabled)
        row = await self._key_row(request.key_id)
        await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.SetKeyEnabledResponse(key=key_message(row))

    async def DeleteKey(self, request: auth_pb2.DeleteKeyRequest, context: Context) -> auth_pb2.DeleteKeyResponse:
        row = await self._store.key(request.key_id)
        if row is not None:
            await self._store.delete_key(request.key_id)
            await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.DeleteKeyResponse()

    # ---- plans ----

    async def PutPlan(self, request: auth_pb2.PutPlanRequest, context: Context) -> auth_pb2.PutPlanResponse:
        plan = request.plan
        policies.check_plan(plan.name)
        policies.check_limits(plan.limits)
        await self._store.put_plan(plan.name, policies.stored(plan.limits))
        await bus.announce(self._nc, bus.PLAN_CHANGED, plan.name.encode())
        return auth_pb2.PutPlanResponse(plan=plan)

    async def ListPlans(self, request: auth_pb2.ListPlansRequest, context: Context) -> auth_pb2.ListPlansResponse:
        return auth_pb2.ListPlansResponse(plans=[_plan(row) for row in await self._store.plans()])

    async def DeletePlan(self, request: auth_pb2.DeletePlanRequest, context: Context) -> auth_pb2.DeletePlanResponse:
        try:
            await self._store.delete_plan(request.name)
        except ForeignKeyViolation:
            raise Refusal(
                Kind.INVALID_REQUEST, f"the plan {request.name!r} is in use: give its tenants and keys another first"
            ) from None
        return auth_pb2.DeletePlanResponse()


def _check_key_name(name: str) -> None:
    if not name or len(name) > _NAME_LENGTH or not name.isprintable():
        said = f"name is needed, of at most {_NAME_LENGTH} printable characters"
        raise Refusal(Kind.INVALID_REQUEST, said, param="name")


def _check_expiry(expires_ms: int) -> None:
    if expires_ms and not clock.now_ms() < expires_ms <= ids.LAST_MS:
        raise Refusal(Kind.INVALID_REQUEST, "expires_ms is in the past, or too far away", param="expires_ms")


def _expiry(expires_ms: int) -> datetime | None:
    return datetime.fromtimestamp(expires_ms / clock.MS_PER_S, UTC) if expires_ms else None


async def _with_plan(plan: str, change: Awaitable[T]) -> T:
    """A change that gives somebody a plan. Raises Refusal when there is none of this name."""
    try:
        return await change
    except ForeignKeyViolation:
        raise Refusal(Kind.NOT_FOUND, f"there is no plan {plan!r}") from None


def _tenant(row: TenantRow) -> auth_pb2.Tenant:
    return auth_pb2.Tenant(
        tenant_id=row.tenant_id,
        name=row.name,
        enabled=row.enabled,
        created_ms=ms_of(row.created_at),
        plan=row.plan or "",
        limits=policies.limits_of(row.limits),
    )


def _plan(row: PlanRow) -> auth_pb2.Plan:
    return auth_pb2.Plan(name=row.name, limits=policies.limits_of(row.limits))
