"""The console process: wiring only."""

import asyncio
from typing import Any, Final

import psycopg
from psycopg_pool import PoolTimeout
from starlette.applications import Starlette
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from services.console.administration import store_on
from services.console.api import ROUTES as API_ROUTES
from services.console.assets import Assets
from services.console.brands import Brands
from services.console.clients import Clients
from services.console.codes import Codes
from services.console.console import Console
from services.console.failures import Failures
from services.console.master_keys import MasterKeys
from services.console.metrics import REQUESTS, Measured
from services.console.pages import ROUTES
from services.console.passwords import Passwords
from services.console.payments.cashier import Cashier
from services.console.payments.providers import providers
from services.console.payments.store import PaymentStore
from services.console.people import People
from services.console.provider import Provider
from services.console.rendering import Renderer
from services.console.safety import Safety
from services.console.settings import ConsoleSettings
from services.console.store import Store
from services.console.throttle import Throttle
from services.console.token_store import TokenStore
from services.shared import database, lifecycle, web
from services.shared.metrics import Exposition
from services.shared.permissions import Peer
from services.shared.telemetry import logger
from services.shared.tls import Tls

_SWEEP_S: Final = 600
_log = logger("app")


async def serve(settings: ConsoleSettings) -> None:
    """Runs the console until SIGTERM, then lets requests under way end."""
    tls = Tls.of(settings, Peer.CONSOLE)
    pool = await database.connect(settings.database_url, service="console", size=settings.database_connections)
    clients = Clients(settings, tls)
    store, tokens = store_on(pool, settings), TokenStore(pool)
    cashier = Cashier(PaymentStore(pool), clients, providers(settings), settings.payments_check_s)
    master_keys = MasterKeys.of(settings)
    codes = Codes(store, Throttle(store, settings), master_keys)
    bare = application(settings, store, tokens, clients, cashier, master_keys, codes)
    exposition = Exposition("console")
    server = web.server(Measured(bare, exposition.histogram(REQUESTS)), drain_s=settings.drain_s)
    database.show(exposition, pool)
    lifecycle.settle_memory()
    async with (
        lifecycle.background(_sweep(store, tokens, codes), cashier.reconcile()),
        web.operations(
            settings.ops_host, settings.ops_port, lambda: server.started and not server.should_exit, exposition
        ),
    ):
        serving = asyncio.create_task(server.serve([web.listen(settings.host, settings.port, shared=False)]))
        await lifecycle.stopped_or_done(serving)
        server.should_exit = True
        while server.started and not serving.done() and server.server_state.tasks:
            await asyncio.sleep(0.05)
        await serving
    await cashier.close()
    await clients.close()
    await pool.close()


def application(
    settings: ConsoleSettings,
    store: Store,
    tokens: TokenStore,
    clients: Clients,
    cashier: Cashier,
    master_keys: MasterKeys,
    codes: Codes,
) -> Any:
    """The ASGI application: proxies are believed first, then the safety layer, then the pages."""
    assets = Assets()
    renderer = Renderer(assets, settings.api_url, settings.registration)
    failures = Failures(renderer)
    throttle = Throttle(store, settings)
    people = People(store, clients, Passwords(), throttle)
    provider = Provider(settings) if settings.oidc_issuer else None
    app = Starlette(routes=[*ROUTES, *API_ROUTES], exception_handlers=failures.handlers)
    app.router.redirect_slashes = False
    app.state.console = Console(
        settings, store, tokens, clients, people, throttle, codes, master_keys, provider, cashier, assets, renderer
    )
    safe = Safety(app, store, Brands(clients), failures.page)
    trusted = [name.strip() for name in settings.trusted_proxies.split(",") if name.strip()]
    return ProxyHeadersMiddleware(safe, trusted_hosts=trusted)  # type: ignore[arg-type]


async def _sweep(store: Store, tokens: TokenStore, codes: Codes) -> None:
    while True:
        try:
            await codes.reseal()
            await store.sweep()
            await tokens.sweep()
        except (psycopg.Error, PoolTimeout) as error:
            _log.warning("sweep_failed", error=repr(error))
        await asyncio.sleep(_SWEEP_S)
