"""The edge process: wiring only."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.edge.admission import Admission
from services.edge.apis import ENDPOINTS, Api, canonical_path
from services.edge.brands import Brands, Lists
from services.edge.catalog import Catalog
from services.edge.clients import Auth, Clients
from services.edge.dialects import anthropic
from services.edge.incoming import Receive, Scope
from services.edge.journal import Journal, Left
from services.edge.keepalive import KeepAlive
from services.edge.key_usage import KeyUsage
from services.edge.origins import Origins
from services.edge.outbox import Outbox
from services.edge.picks import Picks
from services.edge.principals import Principals
from services.edge.recovery import recover
from services.edge.relay import Relay
from services.edge.renewals import Renewals
from services.edge.reply import Send
from services.edge.request_log import RequestLog
from services.edge.routes import Routes
from services.edge.settings import EdgeSettings
from services.edge.transports import Transports
from services.edge.usage import UsageLookup
from services.shared import bus, discovery, ids, lifecycle, web
from services.shared.errors import Kind, Refusal

_FLUSH_S = 10
_ROUTES_WITHIN_S = 10


async def serve(settings: EdgeSettings) -> None:
    """Runs the edge until SIGTERM, then lets requests under way end."""
    nc = await bus.connect(settings.nats_url, name=settings.edge_id)
    journal = Journal(Path(settings.journal_dir), settings.journal_segment_bytes, settings.journal_max_bytes)
    left = await asyncio.to_thread(journal.left)
    outbox = Outbox(nc, journal, settings.edge_id, settings.outbox_requests)
    renewals = Renewals(outbox, settings.hold_renew_s)
    edge = f"{settings.edge_id}/{ids.ulid()}"
    clients, transports = Clients(settings, edge, renewals.soon), Transports(settings)
    brands, routes = Brands(lambda: cast(Lists, clients.auth.any().stub)), Routes(clients.routers, settings)
    principals = Principals(clients.auth.any, settings, lambda: brands.prefixes)
    await principals.listen(nc)
    await routes.listen(nc)
    await brands.listen(nc)
    await clients.listen(nc)
    requests, keep_alive = RequestLog(), KeepAlive(settings.keep_alive_s)
    admission, picks = Admission(settings, clients.auth, outbox), Picks(settings, clients.routers)
    relay = Relay(
        settings, principals, admission, routes, picks, transports, outbox, renewals, keep_alive, requests, brands
    )
    catalog = Catalog(routes, principals)
    usage, key_usage = UsageLookup(clients, principals, settings), KeyUsage(clients, principals, settings)
    app = Dispatch(relay, _routes(catalog, usage, key_usage))
    allowed = settings.allowed_origins()
    server = web.server(Origins(app, allowed) if allowed else app, drain_s=settings.drain_s)

    def ready() -> bool:
        listening = server.started and not server.should_exit
        return listening and not outbox.full and clients.known and routes.known.is_set() and brands.known.is_set()

    ops = web.server(web.ops_routes(ready), drain_s=0)
    presence = discovery.Presence(
        nc,
        "edge",
        settings.edge_id,
        f"{settings.host}:{settings.port}",
        lambda: {
            **requests.figures(),
            "in_flight": len(server.server_state.tasks) if server.started else 0,
            "unsent": outbox.depth,
        },
    )
    lifecycle.settle_memory()
    async with lifecycle.background(
        outbox.run(),
        journal.keep(),
        renewals.run(clients.auth),
        clients.auth.keep(),
        clients.routers.keep(),
        routes.keep(),
        brands.keep(),
        keep_alive.run(),
        presence.run(),
    ):

        async def serve_clients() -> None:
            with contextlib.suppress(TimeoutError):  # after which clients are told who is missing
                await asyncio.wait_for(asyncio.gather(routes.known.wait(), brands.known.wait()), _ROUTES_WITHIN_S)
            await server.serve([web.listen(settings.host, settings.port, shared=True)])

        recovering = asyncio.create_task(_recover(edge, journal, left, outbox, clients.auth))
        serving = asyncio.gather(
            serve_clients(),
            ops.serve([web.listen(settings.ops_host, settings.ops_port, shared=False)]),
        )
        await lifecycle.stopped_or_done(serving)
        await presence.leave()
        server.should_exit = True
        while server.started and not serving.done() and server.server_state.tasks:
            await asyncio.sleep(0.05)
        ops.should_exit = True
        await serving
        requests.flush()
        await outbox.flush(_FLUSH_S)
        recovering.cancel()
    await clients.close()
    await transports.close()
    journal.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nc.drain(), 5)


async def _recover(edge: str, journal: Journal, left: list[Left], outbox: Outbox, auth: Auth) -> None:
    if journal.had_earlier_life:
        await recover(edge, left, outbox, auth)


class Dispatch:
    """The hot path goes straight to the relay; Starlette has the rest."""

    def __init__(self, relay: Relay, rest: Starlette) -> None:
        self._relay = relay
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        api = ENDPOINTS.get(scope["path"])
        if api is not None and scope["method"] == "POST":
            await self._relay(scope, receive, send, api)
        else:
            scope["path"] = canonical_path(scope["path"])
            await self._rest(scope, receive, send)  # type: ignore[arg-type]


def _routes(catalog: Catalog, usage: UsageLookup, key_usage: KeyUsage) -> Starlette:
    async def home(request: Request) -> dict[str, Any]:
        return {"name": "tollhouse"}

    async def unused(request: Request) -> Response:
        raise AssertionError("Dispatch takes POST; Route answers other methods with 405")

    app = Starlette(
        routes=[
            Route("/", _answered(home)),
            *(Route(api.value, unused, methods=["POST"]) for api in Api),
            Route("/v1/models", _answered(catalog.every)),
            Route("/v1/models/{model:path}", _answered(catalog.one)),
            Route("/v1/usage", _answered(usage.every)),
            Route("/v1/usage/summary", _answered(usage.summary)),
            Route("/v1/usage/{request_id}", _answered(usage.one)),
            Route("/v1/usage/{request_id}/receipt", _answered(usage.receipt)),
            Route("/v1/balance", _answered(usage.balance)),
            Route("/v1/dashboard/billing/subscription", _answered(key_usage.subscription)),
            Route("/v1/dashboard/billing/usage", _answered(key_usage.billing_usage)),
            Route("/api/usage/token", _answered(key_usage.token)),
            Route("/api/usage/token/", _answered(key_usage.token)),
            Route("/.well-known/tollhouse-receipt-keys.json", _answered(usage.receipt_keys)),
        ],
        exception_handlers={HTTPException: _http_refusal, Exception: _internal},
    )
    app.router.redirect_slashes = False
    return app


def _answered(
    endpoint: Callable[[Request], Awaitable[dict[str, Any] | Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint's object as JSON, its response as it is, or its refusal in the caller's dialect."""

    async def answer(request: Request) -> Response:
        try:
            said = await endpoint(request)
            if isinstance(said, Response):
                return said
            headers = {"x-request-id": ids.request_id()}
            return Response(msgspec.json.encode(said), media_type="application/json", headers=headers)
        except Refusal as refusal:
            return _refusal(refusal)

    return answer


def _refusal(refusal: Refusal) -> Response:
    request_id = ids.request_id()
    status, headers, body = anthropic.error_answer(refusal, request_id)
    fields = {name.decode(): value.decode("latin-1") for name, value in headers}
    return Response(body, status, fields | {"x-request-id": request_id})


async def _http_refusal(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        response = _refusal(Refusal(Kind.METHOD_NOT_ALLOWED, f"{request.url.path} takes {allow}, not {request.method}"))
        response.headers["allow"] = allow
        return response
    return _refusal(Refusal(Kind.ROUTE_UNKNOWN, f"there is no endpoint {request.method} {request.url.path}"))


async def _internal(request: Request, error: Exception) -> Response:
    return _refusal(Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))
