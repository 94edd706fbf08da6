"""Tenants: found, their balance, what they may, and what they used."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, usage_sums
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import fields, lists
from services.console.rendering import redirect
from services.shared import clock, ids
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2, billing_pb2, usage_pb2

_PATH = "/operator/tenants"
_DAYS = 30
_DAY_MS = 24 * 3600 * clock.MS_PER_S
_LATEST = 10
MOVES: Final = {
    "top_up": "Top up: they paid",
    "promotion": "Gift: our cost",
    "credit": "Correction in their favour",
    "debit": "Correction in our favour",
    "refund": "Refund: money back to them",
}
_KINDS: Final = {
    "promotion": billing_pb2.ADJUSTMENT_KIND_PROMOTION,
    "credit": billing_pb2.ADJUSTMENT_KIND_CREDIT,
    "debit": billing_pb2.ADJUSTMENT_KIND_DEBIT,
    "refund": billing_pb2.ADJUSTMENT_KIND_REFUND,
}


async def show(request: Request) -> Response:
    """A page of them, newest first."""
    return await _list_page(request, Form())


async def create(request: Request) -> Response:
    """Makes a tenant."""
    form = await Form.read(request, "tenant_id", "name", "plan")
    asked = auth_pb2.CreateTenantRequest(
        tenant_id=form["tenant_id"].strip(), name=form["name"].strip(), plan=form["plan"].strip()
    )
    try:
        change = partial(console_of(request).clients.auth.CreateTenant, asked)
        await deeds.done(request, "create_tenant", asked.tenant_id, change, name=asked.name, plan=asked.plan)
    except Refusal as refusal:
        return await _list_page(request, deeds.beside(form, refusal, tenant_id="tenant_id", plan="plan"), 422)
    return redirect(request, f"{_PATH}/{asked.tenant_id}", "added")


async def one(request: Request) -> Response:
    """One tenant."""
    return await _page(request)


async def adjust(request: Request) -> Response:
    """Moves the balance, once for each form that was shown."""
    tenant_id = request.path_params["tenant_id"]
    form = await Form.read(request, "move", "amount", "reason", "idempotency_key")
    if form["move"] not in MOVES:
        form.wrong("move", "Choose why it moves.")
    if not form["reason"].strip():
        form.wrong("reason", "Say why: the books and the tenant's history show it.")
    amount_nano = 0
    try:
        amount_nano = fields.nano(form["amount"])
    except ValueError as error:
        form.wrong("amount", str(error))
    if form.errors:
        return await _page(request, adjust_form=form)
    try:
        repeated = await _move(request, tenant_id, form, amount_nano)
    except Refusal as refusal:
        words = {"amount": "balance", "reason": "reason"}
        return await _page(request, adjust_form=deeds.beside(form, refusal, **words))
    return redirect(request, f"{_PATH}/{tenant_id}", "adjusted_before" if repeated else "adjusted")


async def set_policy(request: Request) -> Response:
    """Sets the tenant's plan and its own limits."""
    tenant_id = request.path_params["tenant_id"]
    form = await Form.read(request, "plan", "limits")
    asked = auth_pb2.SetTenantPolicyRequest(tenant_id=tenant_id, plan=form["plan"])
    try:
        asked.limits.extend(fields.limits(form["limits"]))
    except ValueError as error:
        return await _page(request, policy_form=form.wrong("limits", str(error)))
    try:
        change = partial(console_of(request).clients.auth.SetTenantPolicy, asked)
        await deeds.done(request, "set_tenant_policy", tenant_id, change, plan=form["plan"], limits=form["limits"])
    except Refusal as refusal:
        return await _page(request, policy_form=deeds.beside(form, refusal, plan="plan", limits="limit"))
    return redirect(request, f"{_PATH}/{tenant_id}", "saved")


async def suspend(request: Request) -> Response:
    """Refuses the tenant's keys from now on."""
    return await _set_enabled(request, enabled=False)


async def resume(request: Request) -> Response:
    """Accepts the tenant's keys again."""
    return await _set_enabled(request, enabled=True)


async def _set_enabled(request: Request, *, enabled: bool) -> Response:
    tenant_id, form = request.path_params["tenant_id"], await Form.read(request, "reason")
    asked = auth_pb2.SetTenantEnabledRequest(tenant_id=tenant_id, enabled=enabled)
    change = partial(console_of(request).clients.auth.SetTenantEnabled, asked)
    action = "resume_tenant" if enabled else "suspend_tenant"
    await deeds.done(request, action, tenant_id, change, reason=form["reason"])
    return redirect(request, f"{_PATH}/{tenant_id}", "resumed" if enabled else "suspended")


async def _move(request: Request, tenant_id: str, form: Form, amount_nano: int) -> bool:
    """Whether it had been done before."""
    clients = console_of(request).clients
    # A tenant that auth does not know must not get a balance.
    await clients.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=tenant_id))
    common: dict[str, Any] = {
        "tenant_id": tenant_id,
        "amount_nano": amount_nano,
        "idempotency_key": form["idempotency_key"],
        "reason": deeds.printable(form["reason"]),
        "actor": deeds.actor_of(request),
    }
    if form["move"] == "top_up":
        return (await clients.billing.TopUp(billing_pb2.TopUpRequest(**common))).repeated
    asked = billing_pb2.AdjustRequest(kind=_KINDS[form["move"]], **common)
    return (await clients.billing.Adjust(asked)).repeated


async def _list_page(request: Request, form: Form, status: int = 200) -> Response:
    asked, console = lists.asked_of(request, "search", "plan", "show"), console_of(request)
    listed, plans = await asyncio.gather(
        console.clients.auth.ListTenants(
            auth_pb2.ListTenantsRequest(
                page_size=lists.SHOWN,
                page_token=asked.token,
                search=asked["search"],
                plan=asked["plan"],
                disabled=asked["show"] == "suspended",
                newest_first=True,
            )
        ),
        console.clients.auth.ListPlans(auth_pb2.ListPlansRequest()),
    )
    tenant_ids = [tenant.tenant_id for tenant in listed.tenants]
    balances = await console.clients.billing.ListBalances(billing_pb2.ListBalancesRequest(tenant_ids=tenant_ids))
    return console.renderer.page(
        request,
        "operators/tenants.html",
        status,
        asked=asked,
        listed=listed,
        balances={balance.tenant_id: balance.balance_nano for balance in balances.balances},
        plans=[plan.name for plan in plans.plans],
        form=form,
    )


async def _page(request: Request, adjust_form: Form | None = None, policy_form: Form | None = None) -> Response:
    console, tenant_id, now_ms = console_of(request), request.path_params["tenant_id"], clock.now_ms()
    clients = console.clients
    found = await clients.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=tenant_id))
    balance, plans, keys, summary, transactions = await asyncio.gather(
        clients.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant_id)),
        clients.auth.ListPlans(auth_pb2.ListPlansRequest()),
        clients.auth.ListKeys(auth_pb2.ListKeysRequest(tenant_id=tenant_id)),
        clients.usage.SummarizeUsage(
            usage_pb2.SummarizeUsageRequest(
                tenant_id=tenant_id,
                period=usage_pb2.USAGE_PERIOD_DAY,
                from_ms=now_ms - (_DAYS - 1) * _DAY_MS,
                to_ms=now_ms,
            )
        ),
        clients.billing.ListTransactions(billing_pb2.ListTransactionsRequest(tenant_id=tenant_id, page_size=_LATEST)),
    )
    tenant = found.tenant
    policy_form = policy_form or Form({"plan": tenant.plan, "limits": fields.limit_lines(tenant.limits)})
    adjust_form = adjust_form or Form({"idempotency_key": f"console_{ids.ulid()}"})
    return console.renderer.page(
        request,
        "operators/tenant.html",
        422 if adjust_form.errors or policy_form.errors else 200,
        tenant=tenant,
        balance=balance,
        plans=[plan.name for plan in plans.plans],
        keys=keys.keys[: lists.SHOWN],
        more_keys=max(0, len(keys.keys) - lists.SHOWN),
        days=_days(summary.buckets, now_ms),
        spent_nano=sum(bucket.cost_nano for bucket in summary.buckets),
        margin_nano=sum(bucket.margin_nano for bucket in summary.buckets),
        requests=sum(bucket.requests for bucket in summary.buckets),
        transactions=transactions.transactions,
        adjust_form=adjust_form,
        policy_form=policy_form,
        moves=MOVES,
    )


def _days(buckets: Iterable[usage_pb2.UsageBucket], now_ms: int) -> list[tuple[datetime, usage_pb2.UsageBucket]]:
    """The last days, those without usage among them too; none where there was no usage at all."""
    by_start = {bucket.start_ms: bucket for bucket in buckets}
    if not by_start:
        return []
    starts = usage_sums.starts(now_ms - (_DAYS - 1) * _DAY_MS, now_ms + 1, "day")
    return [
        (datetime.fromtimestamp(start / clock.MS_PER_S, UTC), by_start.get(start, usage_pb2.UsageBucket()))
        for start in starts[-_DAYS:]
    ]


_ONE = f"{_PATH}/{{tenant_id}}"
routes = [
    operator(_PATH, show),
    operator(_PATH, create, ["POST"]),
    operator(_ONE, one),
    operator(f"{_ONE}/adjust", adjust, ["POST"]),
    operator(f"{_ONE}/policy", set_policy, ["POST"]),
    operator(f"{_ONE}/suspend", suspend, ["POST"]),
    operator(f"{_ONE}/resume", resume, ["POST"]),
]
