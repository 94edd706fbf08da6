"""The router process: wiring only."""

import asyncio
import contextlib
import random
from collections.abc import Collection

from nats.aio.msg import Msg

from services.router import metrics
from services.router.catalog import Catalog
from services.router.cooldowns import Cooldowns
from services.router.credentials import Sealer
from services.router.decide import Decider
from services.router.explanations import Explanations
from services.router.grpc_api import RouterApi
from services.router.leases import Leases
from services.router.reach import Reach
from services.router.settings import RouterSettings
from services.router.store import Store
from services.shared import bus, database, discovery, lifecycle, rpc, web
from services.shared.errors import Kind
from services.shared.metrics import Exposition
from services.shared.permissions import Peer
from services.shared.tls import Tls
from services.shared.tracing import Tracer
from tollhouse.v1 import router_pb2, router_pb2_grpc


async def serve(settings: RouterSettings) -> None:
    """Runs the router until SIGTERM."""
    others = settings.other_master_keys.each() if settings.other_master_keys else []
    sealer = Sealer(settings.master_key.reveal(), *(key.reveal() for key in others))
    tls = Tls.of(settings, Peer.ROUTER)
    pool, nc = await asyncio.gather(
        database.connect(settings.database_url, service="router", size=settings.database_connections),
        bus.connect(settings.nats_url, name=settings.replica, tls=tls),
    )
    store, leases = Store(pool), Leases(settings.lease_ttl_s)
    cooldowns = Cooldowns(nc, random.random, settings.bucket_replicas)
    telling: set[asyncio.Task[None]] = set()

    def loaded(account_ids: Collection[str]) -> None:
        cooldowns.forget(account_ids)
        # Edges ask whichever router they like, so each says when it knows what is new.
        told = asyncio.create_task(bus.announce(nc, bus.ROUTES_CHANGED, settings.replica.encode()))
        telling.add(told)
        told.add_done_callback(telling.discard)

    catalog = Catalog(store, sealer, loaded=loaded, credential_changed=cooldowns.forget_refusals)
    tracer = Tracer("router", settings.replica)
    decider = Decider(catalog, leases, cooldowns, settings, replica=settings.replica, tracer=tracer)
    explanations = Explanations(nc, decider)
    reach = Reach(settings.private_upstreams)
    api = RouterApi(store, catalog, leases, cooldowns, decider, explanations, sealer, nc, reach)

    async def catalog_changed(_: Msg) -> None:
        catalog.changed()

    await nc.subscribe(bus.CATALOG_CHANGED, cb=catalog_changed)
    await explanations.start()
    await catalog.load()  # after the subscription: no change falls between the two
    exposition = Exposition("router")
    server = rpc.Server(
        f"{settings.host}:{settings.port}",
        [router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name],
        calls=exposition.histogram(rpc.CALLS),
        service="router",
        away=(database.AWAY, Kind.ROUTER_UNAVAILABLE),
        tls=tls,
    )
    metrics.show(exposition, catalog, leases, cooldowns, decider)
    bus.show(exposition, nc)
    database.show(exposition, pool)
    router_pb2_grpc.add_RouterServiceServicer_to_server(api, server.grpc)
    presence = discovery.Presence(
        nc,
        "router",
        settings.replica,
        settings.advertise or f"{settings.host}:{settings.port}",
        lambda: {"leases": len(leases), "upstream_accounts": len(catalog.accounts), "cooling": cooldowns.count},
    )
    async with (
        web.operations(settings.ops_host, settings.ops_port, lambda: server.serving, exposition),
        lifecycle.background(cooldowns.run(), catalog.keep(), decider.run()),
    ):
        await server.start()
        lifecycle.settle_memory()
        async with lifecycle.background(presence.run()):
            await lifecycle.stopped()
            await presence.leave()
            await asyncio.sleep(settings.drain_s)  # edges turn to other replicas
        await server.stop(settings.drain_s)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nc.drain(), 5)
    await tracer.close()
    await pool.close()
