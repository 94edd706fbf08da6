"""What a first start puts there to try Tollhouse with, through gRPC like everybody else: a tenant with credit, a key,
the simulator as upstream account, a price book, a service token that reads usage, and the console's first operator."""

from __future__ import annotations  # the asynchronous stubs exist for type checkers only

import secrets
from dataclasses import dataclass
from typing import Final

import grpc
import msgspec

from services.console.administration import administration
from services.console.store import AddressTaken
from services.embedded.health import with_credentials
from services.embedded.programs import Plan
from services.embedded.state import Operator, StateFolder, write_private
from services.migrate import role
from services.shared import rpc
from services.shared.permissions import Peer
from services.shared.settings import Secret
from services.shared.tls import Tls
from tollhouse.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    billing_pb2,
    billing_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
)

TENANT: Final = "demo"
ACCOUNT: Final = "simulator"
OPERATOR: Final = "operator@localhost"
MODEL: Final = "claude-sonnet-4-6"

_CREDIT_NANO: Final = 10_000_000_000
_CREDIT_KEY: Final = "demo-first-credit"
_PRIORITY: Final = 100
_CALL_TIMEOUT_S: Final = 10.0
# Public list prices in pico-dollars a token, input and output: $1 for a million tokens is 1,000,000.
_LIST_PRICES: Final = {
    "claude-opus-4-6": (15_000_000, 75_000_000),
    "claude-sonnet-4-6": (3_000_000, 15_000_000),
    "claude-haiku-4-5": (800_000, 4_000_000),
    "claude-sonnet-4-5": (3_000_000, 15_000_000),
    "claude-sonnet-4-5-20250929": (3_000_000, 15_000_000),
    "claude-opus-4-5": (5_000_000, 25_000_000),
    "claude-haiku-4-5-20251001": (800_000, 4_000_000),
    "gpt-5.2": (1_750_000, 14_000_000),
    "text-embedding-3-small": (20_000, 0),
}


@dataclass(frozen=True)
class Seeds:
    """What the ready line tells of it."""

    api_key: str = ""
    usage_token: str = ""
    operator: Operator = Operator("", "")  # noqa: RUF009


async def seed(folder: StateFolder, plan: Plan, tls: Tls | None) -> Seeds:
    """Makes what is missing and answers the demo key, the service token that reads usage, and the console's operator.
    Each step may be repeated, so that an interrupted first start is taken up where it ended; afterwards what the
    operator changed or deleted stays so. Raises grpc.RpcError, Refusal."""
    async with (
        rpc.channel(plan.address("auth"), tls=tls, to=Peer.AUTH) as auth_channel,
        rpc.channel(plan.address("router"), tls=tls, to=Peer.ROUTER) as router_channel,
        rpc.channel(
            plan.address("ledger"), Secret(plan.secrets.ledger_token), tls=tls, to=Peer.LEDGER
        ) as ledger_channel,
    ):
        auth = auth_pb2_grpc.AuthServiceStub(auth_channel)
        router = router_pb2_grpc.RouterServiceStub(router_channel)
        billing = billing_pb2_grpc.BillingServiceStub(ledger_channel)
        await _forget_another_database(folder, auth)
        first = not folder.seeded.exists()
        if first:
            await _credit(auth, billing)
            await _prices(billing)
        await _account(router, plan, first)
        key = await _key(folder, auth)
        token = await _usage_token(folder, plan, ledger_channel, tls)
        operator = await _operator(folder, plan, tls)
        if first:
            write_private(folder.seeded, b"")
        return Seeds(key, token, operator)


def cache_rates(input_pico: int) -> tuple[int, int, int]:
    """Pico-dollars for cache read, five-minute write and one-hour write: 0.1, 1.25 and 2 times the input's."""
    return input_pico // 10, input_pico * 5 // 4, input_pico * 2


async def _forget_another_database(folder: StateFolder, auth: auth_pb2_grpc.AuthServiceAsyncStub) -> None:
    """Tenants are never deleted: without ours this is a database that was never seeded, and our key is not in it."""
    tenants = await auth.ListTenants(auth_pb2.ListTenantsRequest(), timeout=_CALL_TIMEOUT_S)
    if all(tenant.tenant_id != TENANT for tenant in tenants.tenants):
        folder.seeded.unlink(missing_ok=True)
        folder.demo_key.unlink(missing_ok=True)


async def _credit(auth: auth_pb2_grpc.AuthServiceAsyncStub, billing: billing_pb2_grpc.BillingServiceAsyncStub) -> None:
    await auth.CreateTenant(auth_pb2.CreateTenantRequest(tenant_id=TENANT, name="Demo"), timeout=_CALL_TIMEOUT_S)
    await billing.TopUp(
        billing_pb2.TopUpRequest(
            tenant_id=TENANT,
            amount_nano=_CREDIT_NANO,
            idempotency_key=_CREDIT_KEY,
            reason="credit to try Tollhouse with",
            actor="tollhouse up",
        ),
        timeout=_CALL_TIMEOUT_S,
    )


async def _prices(billing: billing_pb2_grpc.BillingServiceAsyncStub) -> None:
    listed = await billing.ListPrices(billing_pb2.ListPricesRequest(), timeout=_CALL_TIMEOUT_S)
    priced = {price.model for price in listed.prices}
    for model, (input_pico, output_pico) in _LIST_PRICES.items():
        if model in priced:
            continue
        read, write_5m, write_1h = cache_rates(input_pico)
        price = billing_pb2.Price(
            model=model,
            input_pico=input_pico,
            output_pico=output_pico,
            cache_read_pico=read,
            cache_write_5m_pico=write_5m,
            cache_write_1h_pico=write_1h,
        )
        await billing.SetPrice(billing_pb2.SetPriceRequest(price=price, actor="tollhouse up"), timeout=_CALL_TIMEOUT_S)


async def _account(router: router_pb2_grpc.RouterServiceAsyncStub, plan: Plan, first: bool) -> None:
    """The simulator listens on another port after each start: its account follows, and is else left as it is."""
    url = f"http://{plan.address('simulator')}"
    listed = await router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest(), timeout=_CALL_TIMEOUT_S)
    account = next((account for account in listed.accounts if account.name == ACCOUNT), None)
    if account is None:
        if not first:
            return
        account = router_pb2.UpstreamAccount(
            name=ACCOUNT,
            kind=router_pb2.UPSTREAM_KIND_SIMULATOR,
            models={model: model for model in _LIST_PRICES},
            priority=_PRIORITY,
            enabled=True,
        )
    elif account.kind != router_pb2.UPSTREAM_KIND_SIMULATOR:
        return
    account.base_url = url
    request = router_pb2.PutUpstreamAccountRequest(account=account, credential=plan.secrets.simulator)
    await router.PutUpstreamAccount(request, timeout=_CALL_TIMEOUT_S)


async def _key(folder: StateFolder, auth: auth_pb2_grpc.AuthServiceAsyncStub) -> str:
    if not folder.demo_key.exists():
        request = auth_pb2.CreateKeyRequest(tenant_id=TENANT, name="demo")
        made = await auth.CreateKey(request, timeout=_CALL_TIMEOUT_S)
        write_private(folder.demo_key, f"{made.secret}\n".encode())
    return folder.demo_key.read_text(encoding="ascii").strip()


async def _operator(folder: StateFolder, plan: Plan, tls: Tls | None) -> Operator:
    """Of the demo tenant too, so that both sides of the console can be seen."""
    if folder.operator.exists():
        operator = msgspec.json.decode(folder.operator.read_bytes(), type=Operator)
    else:
        operator = Operator(OPERATOR, secrets.token_urlsafe(15))
        write_private(folder.operator, msgspec.json.encode(operator))
    url = Secret(with_credentials(plan.database_url, role("console"), plan.secrets.console))
    async with administration(url, plan.address("auth"), tls) as console:
        try:
            await console.people.add(operator.email, operator.password, role="operator", tenant_id=TENANT)
        except AddressTaken:
            if not await console.people.knows(operator.email, operator.password):
                return Operator(operator.email, "")
    return operator


async def _usage_token(folder: StateFolder, plan: Plan, ledger: grpc.aio.Channel, tls: Tls | None) -> str:
    """Made anew when it is not good any more, as with another database: the ready line must not hold a dead one."""
    if folder.usage_token.exists():
        kept = folder.usage_token.read_text(encoding="ascii").strip()
        if await _reads_usage(plan, Secret(kept), tls):
            return kept
    tokens = tokens_pb2_grpc.TokenServiceStub(ledger)
    request = tokens_pb2.CreateTokenRequest(name="up", scope=tokens_pb2.TOKEN_SCOPE_USAGE)
    made = await tokens.CreateToken(request, timeout=_CALL_TIMEOUT_S)
    write_private(folder.usage_token, f"{made.secret}\n".encode())
    return made.secret


async def _reads_usage(plan: Plan, token: Secret, tls: Tls | None) -> bool:
    async with rpc.channel(plan.address("ledger"), token, tls=tls, to=Peer.LEDGER) as channel:
        usage = usage_pb2_grpc.UsageServiceStub(channel)
        try:
            await usage.GetReceiptKeys(usage_pb2.GetReceiptKeysRequest(), timeout=_CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
            return False
    return True
