"""The auth process: wiring only."""

import asyncio
import contextlib

from nats.aio.msg import Msg

from services.auth import metrics
from services.auth.grants import Grants
from services.auth.grpc_api import AuthApi
from services.auth.prices import PriceBook
from services.auth.settings import AuthSettings
from services.auth.store import Store
from services.shared import bus, database, discovery, lifecycle, rpc, web
from services.shared.errors import Kind
from services.shared.metrics import Exposition
from services.shared.permissions import Peer
from services.shared.principal import pepper_id
from services.shared.telemetry import logger
from services.shared.tls import Tls
from services.shared.tracing import Tracer
from tollhouse.v1 import auth_pb2, auth_pb2_grpc, billing_pb2_grpc, ledger_pb2_grpc

_log = logger("auth")


async def serve(settings: AuthSettings) -> None:
    """Runs auth until SIGTERM."""
    tls = Tls.of(settings, Peer.AUTH)
    pool, nc = await asyncio.gather(
        database.connect(settings.database_url, service="auth", size=settings.database_connections),
        bus.connect(settings.nats_url, name="auth", tls=tls),
    )
    channel = rpc.channel(settings.ledger_address, settings.ledger_token, tls=tls, to=Peer.LEDGER, spread=True)
    ledger: ledger_pb2_grpc.LedgerServiceAsyncStub = ledger_pb2_grpc.LedgerServiceStub(channel)
    billing: billing_pb2_grpc.BillingServiceAsyncStub = billing_pb2_grpc.BillingServiceStub(channel)
    prices = PriceBook(billing, settings.ledger_timeout_s)

    async def recall(tenant_id: str) -> None:
        await bus.announce(nc, bus.CREDIT_WANTED, f"{settings.replica} {tenant_id}".encode())

    grants = Grants(ledger, prices, settings, recall)

    async def credit_wanted(message: Msg) -> None:
        replica, _, tenant_id = message.data.decode().partition(" ")
        if replica != settings.replica:
            grants.give_back_spare(tenant_id)

    await nc.subscribe(bus.CREDIT_WANTED, cb=credit_wanted)

    async def prices_changed(_: Msg) -> None:
        prices.changed()

    await nc.subscribe(bus.PRICES_CHANGED, cb=prices_changed)
    exposition = Exposition("auth")
    server = rpc.Server(
        f"{settings.host}:{settings.port}",
        [auth_pb2.DESCRIPTOR.services_by_name["AuthService"].full_name],
        calls=exposition.histogram(rpc.CALLS),
        service="auth",
        away=(database.AWAY, Kind.AUTH_UNAVAILABLE),
        tls=tls,
    )
    tracer = Tracer("auth", settings.replica)
    others = settings.other_key_peppers.each() if settings.other_key_peppers else []
    peppers = [pepper.reveal().encode() for pepper in (settings.key_pepper, *others)]
    _log.info("pepper_of_keys", pepper_id=pepper_id(peppers[0]).hex())
    api = AuthApi(Store(pool), grants, nc, tracer, *peppers)
    auth_pb2_grpc.add_AuthServiceServicer_to_server(api, server.grpc)
    metrics.show(exposition, grants, api)
    bus.show(exposition, nc)
    database.show(exposition, pool)
    await server.start()
    lifecycle.settle_memory()
    presence = discovery.Presence(
        nc, "auth", settings.replica, settings.advertise or f"{settings.host}:{settings.port}", grants.figures
    )
    async with (
        web.operations(settings.ops_host, settings.ops_port, lambda: server.serving, exposition),
        lifecycle.background(prices.keep(), grants.keep(), presence.run()),
    ):
        await lifecycle.stopped()
        await presence.leave()
        await asyncio.sleep(settings.drain_s)  # edges turn to other replicas, and take their holds along
        await server.stop(settings.drain_s)
        await grants.give_back_all()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nc.drain(), 5)
    await channel.close()
    await tracer.close()
    await pool.close()
