"""Tenants: who pays, and what they have."""

from typing import Any, Final

from services.console.api.admin.resources import (
    BOOLEAN,
    STRING,
    changing,
    flag,
    listing,
    passed_on,
    reading,
    size_of,
)
from services.console.api.operation import Call
from tollhouse.v1 import auth_pb2, billing_pb2, usage_pb2

_MOST: Final = 500  # auth's pages


async def list_tenants(call: Call) -> Any:
    """A page of tenants, oldest first."""
    found = await call.console.clients.auth.ListTenants(
        auth_pb2.ListTenantsRequest(
            page_size=min(size_of(call), _MOST),
            page_token=call.query.get("cursor", ""),
            search=call.query.get("search", ""),
            plan=call.query.get("plan", ""),
            disabled=flag(call, "disabled"),
        )
    )
    return passed_on(found.tenants, found.next_page_token)


async def get_tenant(call: Call) -> auth_pb2.Tenant:
    """One tenant."""
    asked = auth_pb2.GetTenantRequest(tenant_id=call.path("tenant_id"))
    return (await call.console.clients.auth.GetTenant(asked)).tenant


async def create_tenant(call: Call) -> auth_pb2.Tenant:
    """Makes a tenant; one of that id that exists is answered as it is."""
    return (await call.console.clients.auth.CreateTenant(call.body)).tenant


async def update_tenant(call: Call) -> auth_pb2.Tenant:
    """Sets a tenant's plan, its own limits, and whether its keys are accepted."""
    auth, tenant_id, wanted = call.console.clients.auth, call.path("tenant_id"), call.body
    await get_tenant(call)
    policy = auth_pb2.SetTenantPolicyRequest(tenant_id=tenant_id, plan=wanted.plan, limits=wanted.limits)
    await auth.SetTenantPolicy(policy)
    enabled = auth_pb2.SetTenantEnabledRequest(tenant_id=tenant_id, enabled=wanted.enabled)
    return (await auth.SetTenantEnabled(enabled)).tenant


async def get_balance(call: Call) -> usage_pb2.GetBalanceResponse:
    """What a tenant has."""
    tenant = await get_tenant(call)
    return await call.console.clients.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant.tenant_id))


async def list_transactions(call: Call) -> Any:
    """What moved a tenant's balance, newest first."""
    tenant = await get_tenant(call)
    found = await call.console.clients.billing.ListTransactions(
        billing_pb2.ListTransactionsRequest(
            tenant_id=tenant.tenant_id, page_size=size_of(call), page_token=call.query.get("cursor", "")
        )
    )
    return passed_on(found.transactions, found.next_page_token)


async def top_up(call: Call) -> billing_pb2.TopUpResponse:
    """Credits what a tenant paid."""
    tenant = await get_tenant(call)
    asked: billing_pb2.TopUpRequest = call.body
    asked.tenant_id, asked.actor = tenant.tenant_id, call.caller.actor
    asked.idempotency_key = call.idempotency_key
    return await call.console.clients.billing.TopUp(asked)


async def adjust(call: Call) -> billing_pb2.AdjustResponse:
    """Moves a tenant's balance for another reason than usage or a payment."""
    tenant = await get_tenant(call)
    asked: billing_pb2.AdjustRequest = call.body
    asked.tenant_id, asked.actor = tenant.tenant_id, call.caller.actor
    asked.idempotency_key = call.idempotency_key
    return await call.console.clients.billing.Adjust(asked)


_OURS: Final = ("tenant_id", "idempotency_key", "actor")
_ONE: Final = "/tenants/{tenant_id}"

operations = (
    listing(
        "/tenants",
        "listTenants",
        "Tenants, oldest first",
        list_tenants,
        auth_pb2.Tenant,
        {"search": STRING, "plan": STRING, "disabled": BOOLEAN},
    ),
    changing(
        "POST",
        "/tenants",
        "createTenant",
        "Makes a tenant",
        create_tenant,
        auth_pb2.Tenant,
        body=auth_pb2.CreateTenantRequest,
        needed=("tenant_id",),
        status=201,
        target="{tenant_id}",
    ),
    reading(_ONE, "getTenant", "One tenant", get_tenant, auth_pb2.Tenant),
    changing(
        "PUT",
        _ONE,
        "updateTenant",
        "Sets plan, limits, and whether its keys are accepted",
        update_tenant,
        auth_pb2.Tenant,
        body=auth_pb2.Tenant,
        needed=("enabled",),
        current=get_tenant,
    ),
    reading(
        _ONE + "/balance",
        "getBalance",
        "What a tenant has, in nano-dollars",
        get_balance,
        usage_pb2.GetBalanceResponse,
        current=None,
    ),
    listing(
        _ONE + "/transactions",
        "listTransactions",
        "What moved a balance, newest first",
        list_transactions,
        billing_pb2.Transaction,
    ),
    changing(
        "POST",
        _ONE + "/top-ups",
        "topUp",
        "Credits what a tenant paid",
        top_up,
        billing_pb2.TopUpResponse,
        body=billing_pb2.TopUpRequest,
        hidden=_OURS,
        needed=("amount_nano", "reason"),
        audited=False,
    ),
    changing(
        "POST",
        _ONE + "/adjustments",
        "adjustBalance",
        "Moves a balance for another reason than usage or a payment",
        adjust,
        billing_pb2.AdjustResponse,
        body=billing_pb2.AdjustRequest,
        hidden=_OURS,
        needed=("kind", "amount_nano", "reason"),
        audited=False,
    ),
)
