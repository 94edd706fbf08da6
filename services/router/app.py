"""The router process: wiring only."""

import asyncio
import contextlib

from nats.aio.msg import Msg

from services.router.catalog import Catalog
from services.router.credentials import Sealer
from services.router.grpc_api import RouterApi
from services.router.leases import Leases
from services.router.settings import RouterSettings
from services.router.store import Store
from services.shared import bus, clock, database, lifecycle, rpc
from services.shared.telemetry import logger
from tollhouse.v1 import router_pb2, router_pb2_grpc

_log = logger("router")

_EXPIRE_EVERY_S = 5


async def serve(settings: RouterSettings) -> None:
    """Runs the router until SIGTERM."""
    sealer = Sealer(settings.master_key.reveal())
    pool, nc = await asyncio.gather(
        database.connect(settings.database_url, service="router", size=settings.database_connections),
        bus.connect(settings.nats_url, name="router"),
    )
    store = Store(pool)
    catalog, leases = Catalog(store, sealer), Leases(settings.lease_ttl_s)
    await catalog.load()

    async def catalog_changed(_: Msg) -> None:
        catalog.changed()

    await nc.subscribe(bus.CATALOG_CHANGED, cb=catalog_changed)
    server = rpc.Server(
        f"{settings.host}:{settings.port}", [router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name]
    )
    router_pb2_grpc.add_RouterServiceServicer_to_server(RouterApi(store, catalog, leases, sealer, nc), server.grpc)
    await server.start()
    lifecycle.settle_memory()
    async with lifecycle.background(catalog.keep(), _expire_leases(leases)):
        await lifecycle.stopped()
        await server.stop(settings.drain_s)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nc.drain(), 5)
    await pool.close()


async def _expire_leases(leases: Leases) -> None:
    while True:
        await asyncio.sleep(_EXPIRE_EVERY_S)
        lost = leases.expire(clock.monotonic_s())
        if lost:
            _log.warning("leases_expired", count=lost)
