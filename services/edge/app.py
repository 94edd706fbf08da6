"""The edge process: wiring only."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.edge import metrics, shapes
from services.edge.admission import Admission
from services.edge.answers import Answers, answered, no_route
from services.edge.apis import ENDPOINTS, Api, canonical_path
from services.edge.brands import Brands, Lists
from services.edge.catalog import Catalog
from services.edge.clients import Auth, Clients
from services.edge.identification import Identification
from services.edge.incoming import Bodies, Receive, Scope
from services.edge.journal import Journal, Left
from services.edge.keepalive import KeepAlive
from services.edge.key_usage import KeyUsage
from services.edge.openapi.document import OpenApi
from services.edge.outbox import Outbox
from services.edge.picks import Picks
from services.edge.pressure import Pressure
from services.edge.principals import Principals
from services.edge.recovery import recover
from services.edge.relay import Relay
from services.edge.renewals import Renewals
from services.edge.reply import Send
from services.edge.request_log import RequestLog
from services.edge.routes import Routes
from services.edge.settings import EdgeSettings
from services.edge.traces import Traces
from services.edge.transports import Transports
from services.edge.usage import UsageLookup
from services.shared import bus, clock, discovery, ids, lifecycle, web
from services.shared.connections import LINE, Line
from services.shared.metrics import Exposition
from services.shared.permissions import Peer
from services.shared.tls import Tls
from services.shared.tracing import Tracer

_FLUSH_S = 10
_ROUTES_WITHIN_S = 10
_LAST_WORD_S = 0.2


async def serve(settings: EdgeSettings) -> None:
    """Runs the edge until SIGTERM, then lets requests under way end."""
    tls = Tls.of(settings, Peer.EDGE)
    nc = await bus.connect(settings.nats_url, name=settings.edge_id, tls=tls)
    journal = Journal(Path(settings.journal_dir), settings.journal_segment_bytes, settings.journal_max_bytes)
    left = await asyncio.to_thread(journal.left)
    outbox = Outbox(nc, journal, settings.edge_id, settings.outbox_requests)
    renewals = Renewals(outbox, settings.hold_renew_s)
    edge = f"{settings.edge_id}/{ids.ulid()}"
    pressure = Pressure(settings.stream_rest_ms / clock.MS_PER_S)
    exposition, tracer = Exposition("edge"), Tracer("edge", settings.edge_id)
    tallies = metrics.Metrics(exposition)
    clients = Clients(settings, edge, renewals.soon, pressure, tallies.batches, tls)
    transports = Transports(settings, pressure)
    brands, routes = Brands(lambda: cast(Lists, clients.auth.any().stub)), Routes(clients.routers, settings)
    principals = Principals(clients.auth.any, settings, lambda: brands.prefixes)
    await principals.listen(nc)
    await routes.listen(nc)
    await brands.listen(nc)
    await clients.listen(nc)
    requests, keep_alive = RequestLog(), KeepAlive(settings.keep_alive_s)
    admission, picks = Admission(settings, clients.auth, outbox), Picks(settings, clients.routers)
    bodies = Bodies(settings.bodies_max_bytes)
    relay = Relay(
        settings,
        principals,
        admission,
        routes,
        picks,
        transports,
        outbox,
        renewals,
        keep_alive,
        requests,
        brands,
        bodies,
        tallies,
        Traces(tracer, settings),
    )
    identification = Identification(principals, brands, settings)
    usage = UsageLookup(clients, identification, settings)
    key_usage = KeyUsage(clients, identification, settings)
    app = Dispatch(relay, Answers(_routes(Catalog(routes, identification), usage, key_usage), brands))
    server = web.server(app, settings.drain_s, settings.limits(), lines=True)

    leaving = asyncio.Event()

    def ready() -> bool:
        listening = server.started and not leaving.is_set()
        return listening and not outbox.full and clients.known and routes.known.is_set() and brands.known.is_set()

    def in_flight() -> int:
        return len(server.server_state.tasks) if server.started else 0

    metrics.show(exposition, clients, outbox, journal, bodies, settings, in_flight, lambda: len(keep_alive))
    bus.show(exposition, nc)
    presence = discovery.Presence(
        nc,
        "edge",
        settings.edge_id,
        f"{settings.host}:{settings.port}",
        lambda: {
            **requests.figures(),
            "in_flight": in_flight(),
            "unsent": outbox.depth,
        },
    )
    lifecycle.settle_memory()
    async with (
        lifecycle.background(
            outbox.run(),
            journal.keep(),
            renewals.run(clients.auth),
            clients.auth.keep(),
            clients.routers.keep(),
            routes.keep(),
            brands.keep(),
            keep_alive.run(),
            pressure.run(),
            presence.run(),
        ),
        web.operations(settings.ops_host, settings.ops_port, ready, exposition),
    ):

        async def serve_clients() -> None:
            with contextlib.suppress(TimeoutError):  # after which clients are told who is missing
                await asyncio.wait_for(asyncio.gather(routes.known.wait(), brands.known.wait()), _ROUTES_WITHIN_S)
            await server.serve([web.listen(settings.host, settings.port, shared=True)])

        recovering = asyncio.create_task(_recover(edge, journal, left, outbox, clients.auth))
        serving = asyncio.create_task(serve_clients())
        await lifecycle.stopped_or_done(serving)
        leaving.set()
        await presence.leave()
        if not serving.done():
            await _leave(server, settings.drain_notice_s)
        server.should_exit = True
        while server.started and not serving.done() and server.server_state.tasks:
            await asyncio.sleep(0.05)
        await serving
        requests.flush()
        await outbox.flush(_FLUSH_S)
        recovering.cancel()
    await clients.close()
    await transports.close()
    await tracer.close()
    journal.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nc.drain(), 5)


async def _leave(server: web.Server, notice_s: float) -> None:
    """Turns clients away without refusing any. Whoever balances the load sees that this edge is not ready and sends
    nothing more, and connections end with their next answer; then the doors close, and whoever was in already may still
    say what it came for."""
    server.say_farewell()
    await asyncio.sleep(notice_s)
    await server.close_doors()
    await asyncio.sleep(_LAST_WORD_S)


async def _recover(edge: str, journal: Journal, left: list[Left], outbox: Outbox, auth: Auth) -> None:
    if journal.had_earlier_life:
        await recover(edge, left, outbox, auth)


class Dispatch:
    """The hot path goes straight to the relay; Starlette has the rest."""

    def __init__(self, relay: Relay, rest: Answers) -> None:
        self._relay = relay
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        line: Line = scope.pop(LINE)
        api = ENDPOINTS.get(scope["path"])
        if api is None:
            scope["path"] = canonical_path(scope["path"])
            api = ENDPOINTS.get(scope["path"])
        if api is not None and scope["method"] == "POST":
            await self._relay(scope, receive, send, line, api)
        else:
            await self._rest(scope, receive, send)


def _routes(catalog: Catalog, usage: UsageLookup, key_usage: KeyUsage) -> Starlette:
    async def home(request: Request) -> dict[str, Any]:
        return {"name": "tollhouse"}

    async def unused(request: Request) -> Response:
        raise AssertionError("Dispatch takes POST; Route answers other methods with 405")

    app = Starlette(
        routes=[
            Route("/", answered(home)),
            *(Route(api.value, unused, methods=["POST"]) for api in Api),
            *_model_routes(catalog),
            Route("/v1/usage", answered(usage.every)),
            Route("/v1/usage/summary", answered(usage.summary)),
            Route("/v1/usage/{request_id}", answered(usage.one)),
            Route("/v1/usage/{request_id}/receipt", answered(usage.receipt)),
            Route("/v1/balance", answered(usage.balance)),
            Route("/v1/dashboard/billing/subscription", answered(key_usage.subscription)),
            Route("/v1/dashboard/billing/usage", answered(key_usage.billing_usage)),
            Route("/api/usage/token", answered(key_usage.token)),
            Route("/api/usage/token/", answered(key_usage.token)),
            Route("/.well-known/tollhouse-receipt-keys.json", answered(usage.receipt_keys)),
            Route("/openapi.json", answered(OpenApi().document)),
        ],
        exception_handlers={HTTPException: no_route},
    )
    app.router.redirect_slashes = False
    return app


def _model_routes(catalog: Catalog) -> Iterator[Route]:
    for root in (shapes.MODELS, shapes.GEMINI_MODELS, shapes.OPENAI_MODELS):
        yield Route(root, answered(catalog.every))
        yield Route(root + "/{model:path}", answered(catalog.one))
    yield Route(shapes.MODELS + "/{model:path}", answered(catalog.delete), methods=["DELETE"])
