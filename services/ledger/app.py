"""The ledger process: wiring only."""

import asyncio
import contextlib

import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from psycopg_pool import PoolTimeout

from services.ledger import metrics
from services.ledger.billing_api import BillingApi
from services.ledger.consumer import Consumer, StreamLimits, progress, streams_ready
from services.ledger.dead_letters import DeadLetters
from services.ledger.expiry import Expiry
from services.ledger.feed import Feed
from services.ledger.fleet import Fleet
from services.ledger.grpc_api import LedgerApi
from services.ledger.lag import Lag
from services.ledger.price_rows import PriceRows
from services.ledger.receipts import Signer
from services.ledger.settings import LedgerSettings
from services.ledger.store.audit import AuditStore
from services.ledger.store.balances import BalanceStore
from services.ledger.store.booking import PREPARE, BookingStore
from services.ledger.store.grants import GrantStore
from services.ledger.store.prices import PriceStore
from services.ledger.store.reconciliation import Reconciliation
from services.ledger.store.tokens import ReceiptKeyStore, TokenStore
from services.ledger.store.totals import TotalStore
from services.ledger.store.usage import UsageStore
from services.ledger.store.verification import Verification
from services.ledger.store.vouchers import VoucherStore
from services.ledger.token_api import TokenApi, caller_of
from services.ledger.tokens import Caller, Callers
from services.ledger.usage_api import UsageApi
from services.ledger.waiters import Waiters, booked_payload, booked_requests
from services.shared import bus, clock, database, discovery, lifecycle, rpc, web
from services.shared.errors import Kind
from services.shared.metrics import Exposition, Tally
from services.shared.permissions import Peer
from services.shared.telemetry import logger
from services.shared.tls import Tls
from services.shared.tracing import Tracer
from tollhouse.v1 import (
    billing_pb2,
    billing_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
)

_log = logger("ledger")

_EXPIRE_EVERY_S = 1
_ANNOUNCED = ("edge", "auth", "router", "ledger")
_PARTITIONS_EVERY_S = 3600


async def serve(settings: LedgerSettings) -> None:
    """Runs the ledger until SIGTERM."""
    tls = Tls.of(settings, Peer.LEDGER)
    pool, reading, nc = await _connected(settings, tls)
    bookings, grants, balances, prices = (
        BookingStore(pool),
        GrantStore(pool, settings.unbooked_keep_s),
        BalanceStore(pool),
        PriceStore(pool),
    )
    waiters, price_rows = Waiters(settings.usage_waiters), PriceRows(prices)

    async def announce(transaction_id: int, request_ids: list[str]) -> None:
        """Wakes who waits here at once, and who waits at other replicas."""
        waiters.announce(request_ids)
        if transaction_id:
            await bus.announce(nc, bus.USAGE_BOOKED, booked_payload(transaction_id, request_ids))

    limits = StreamLimits(settings.stream_max_bytes, settings.stream_replicas, settings.redelivered_after_s)
    await asyncio.gather(bookings.ensure_partitions(), streams_ready(nc.jetstream(), limits))
    await price_rows.load_costs()
    tracer = Tracer("ledger", settings.replica)
    consumer = Consumer(nc, bookings, price_rows, settings.fetch_messages, limits, announce, tracer)
    names = [
        pb2.DESCRIPTOR.services_by_name[name].full_name
        for pb2, name in (
            (ledger_pb2, "LedgerService"),
            (usage_pb2, "UsageService"),
            (billing_pb2, "BillingService"),
            (tokens_pb2, "TokenService"),
        )
    ]
    tokens, usage, receipt_keys = TokenStore(pool), UsageStore(reading), ReceiptKeyStore(pool)
    callers = _callers(tokens, settings)
    feed = Feed(usage, settings.usage_watchers)
    signer = Signer(settings.signing_key(), settings.receipt_issuer)
    await asyncio.gather(
        receipt_keys.add(signer.kid, signer.public_key), _listen(nc, callers, feed, waiters, price_rows)
    )
    lag, fleet = Lag(nc), Fleet()
    await _hear_of_replicas(nc, fleet)
    presence = discovery.Presence(
        nc,
        "ledger",
        settings.replica,
        settings.advertise or f"{settings.host}:{settings.port}",
        lambda: {"unbooked": lag.behind.messages, "lag_ms": lag.behind.oldest_ms, "dead": lag.behind.dead_letters},
    )
    exposition, expired = Exposition("ledger"), Tally()
    calls = exposition.histogram(rpc.CALLS)
    server = rpc.Server(
        f"{settings.host}:{settings.port}",
        names,
        callers.guard,
        calls=calls,
        service="ledger",
        away=(database.AWAY, Kind.LEDGER_UNAVAILABLE),
        tls=tls,
    )
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(
        LedgerApi(
            grants,
            bookings,
            Verification(pool),
            DeadLetters(nc),
            Reconciliation(reading),
            lag,
            fleet,
            price_rows,
            announce,
            settings,
        ),
        server.grpc,
    )
    usage_pb2_grpc.add_UsageServiceServicer_to_server(
        UsageApi(usage, TotalStore(reading), balances, receipt_keys, signer, waiters, feed, settings), server.grpc
    )
    billing_pb2_grpc.add_BillingServiceServicer_to_server(
        BillingApi(balances, prices, VoucherStore(pool), AuditStore(pool), nc), server.grpc
    )
    tokens_pb2_grpc.add_TokenServiceServicer_to_server(TokenApi(tokens, nc), server.grpc)
    metrics.show(exposition, bookings, consumer, lag, fleet, expired)
    bus.show(exposition, nc)
    database.show(exposition, pool, reading)
    await server.start()
    lifecycle.settle_memory()
    async with (
        web.operations(settings.ops_host, settings.ops_port, lambda: server.serving, exposition),
        lifecycle.background(
            consumer.run(),
            feed.run(),
            price_rows.keep(),
            lag.run(),
            presence.run(),
            _expire_grants(grants, nc.jetstream(), settings.grant_ttl_s, expired),
            _keep_partitions(bookings),
        ),
    ):
        await lifecycle.stopped()
        await presence.leave()
        await server.stop(settings.drain_s)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nc.drain(), 5)
    await tracer.close()
    await asyncio.gather(pool.close(), reading.close())


async def _connected(settings: LedgerSettings, tls: Tls | None) -> tuple[database.Pool, database.Pool, Client]:
    """Postgres for money, Postgres for whoever reads usage, and NATS."""
    return await asyncio.gather(
        database.connect(settings.database_url, service="ledger", size=settings.database_connections, prepare=PREPARE),
        # Whoever reads a long history must not take the connections that money needs.
        database.connect(
            settings.database_url,
            service="ledger-reading",
            size=settings.read_connections,
            prepare=f"SET statement_timeout = {round(settings.read_timeout_s * clock.MS_PER_S)}",
        ),
        bus.connect(settings.nats_url, name="ledger", tls=tls),
    )


def _callers(tokens: TokenStore, settings: LedgerSettings) -> Callers:
    async def find(token_hash: bytes) -> Caller | None:
        found = await tokens.find(token_hash)
        return caller_of(found) if found else None

    others = settings.other_internal_tokens.each() if settings.other_internal_tokens else []
    return Callers([settings.internal_token, *others], find, settings.token_ttl_s, settings.tokens)


async def _listen(nc: Client, callers: Callers, feed: Feed, waiters: Waiters, price_rows: PriceRows) -> None:
    """Hears of revoked tokens, of bookings and of new prices from now on."""

    async def token_changed(message: Msg) -> None:
        callers.forget(message.data)

    async def booked(message: Msg) -> None:
        feed.ring()
        waiters.announce(booked_requests(message.data))

    async def prices_changed(_: Msg) -> None:
        price_rows.changed()

    await nc.subscribe(bus.PRICES_CHANGED, cb=prices_changed)
    await nc.subscribe(bus.TOKENS_CHANGED, cb=token_changed)
    await nc.subscribe(bus.USAGE_BOOKED, cb=booked)


async def _hear_of_replicas(nc: Client, fleet: Fleet) -> None:
    """Hears of every process that announces itself from now on."""
    for service in _ANNOUNCED:

        def heard(announcement: discovery.Announcement, service: str = service) -> None:
            fleet.heard(service, announcement, clock.monotonic_s())

        await discovery.listen(nc, service, heard)


async def _expire_grants(grants: GrantStore, js: JetStreamContext, ttl_s: float, expired: Tally) -> None:
    """Ends grants whose holders are gone, once their events are in, and counts them."""
    expiry = Expiry(ttl_s)
    while True:
        await asyncio.sleep(_EXPIRE_EVERY_S)
        try:
            now_s, database_s = clock.monotonic_s(), await grants.database_s()
            expiry.look(now_s, database_s, *await progress(js))
            abandoned_until_s = expiry.abandoned_until_s()
            if abandoned_until_s is None:
                continue
            lost = await grants.expire_grants(abandoned_until_s, expiry.unrenewed_until_s())
            if lost:
                expired[()] += lost
                _log.warning("grants_expired", count=lost)
        except (psycopg.Error, PoolTimeout, NatsError, OSError, TimeoutError) as error:
            expiry.blind()
            _log.warning("grant_expiry_postponed", error=repr(error))


async def _keep_partitions(bookings: BookingStore) -> None:
    while True:
        await asyncio.sleep(_PARTITIONS_EVERY_S)
        await bookings.ensure_partitions()
