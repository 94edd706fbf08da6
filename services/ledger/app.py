"""The ledger process: wiring only."""

import asyncio
import contextlib

import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from psycopg_pool import PoolTimeout

from services.ledger.consumer import Consumer, ensure_streams
from services.ledger.feed import Feed
from services.ledger.grpc_api import LedgerApi
from services.ledger.receipts import Signer
from services.ledger.settings import LedgerSettings
from services.ledger.store.balances import BalanceStore
from services.ledger.store.booking import PREPARE, BookingStore
from services.ledger.store.grants import GrantStore
from services.ledger.store.prices import PriceStore
from services.ledger.store.tokens import ReceiptKeyStore, TokenStore
from services.ledger.store.usage import UsageStore
from services.ledger.token_api import TokenApi, caller_of
from services.ledger.tokens import Caller, Callers
from services.ledger.usage_api import UsageApi
from services.ledger.waiters import Waiters
from services.shared import bus, database, lifecycle, rpc
from services.shared.telemetry import logger
from tollhouse.v1 import ledger_pb2, ledger_pb2_grpc, tokens_pb2, tokens_pb2_grpc, usage_pb2, usage_pb2_grpc

_log = logger("ledger")

_EXPIRE_EVERY_S = 5
_PARTITIONS_EVERY_S = 3600


async def serve(settings: LedgerSettings) -> None:
    """Runs the ledger until SIGTERM."""
    pool, nc = await asyncio.gather(
        database.connect(settings.database_url, service="ledger", size=settings.database_connections, prepare=PREPARE),
        bus.connect(settings.nats_url, name="ledger"),
    )
    bookings, grants, balances, prices = BookingStore(pool), GrantStore(pool), BalanceStore(pool), PriceStore(pool)
    waiters = Waiters(settings.usage_waiters)
    await asyncio.gather(bookings.ensure_partitions(), ensure_streams(nc.jetstream(), settings.stream_max_bytes))
    consumer = Consumer(nc, bookings, prices, settings.fetch_messages, settings.stream_max_bytes, waiters.announce)
    names = [
        pb2.DESCRIPTOR.services_by_name[name].full_name
        for pb2, name in (
            (ledger_pb2, "LedgerService"),
            (usage_pb2, "UsageService"),
            (tokens_pb2, "TokenService"),
        )
    ]
    tokens, usage, receipt_keys = TokenStore(pool), UsageStore(pool), ReceiptKeyStore(pool)
    callers = _callers(tokens, settings)
    feed = Feed(usage, settings.usage_watchers)
    signer = Signer(settings.signing_key(), settings.receipt_issuer)
    await asyncio.gather(receipt_keys.add(signer.kid, signer.public_key), _listen(nc, callers, feed))
    server = rpc.Server(f"{settings.host}:{settings.port}", names, callers.guard)
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerApi(grants, balances, prices, nc, settings), server.grpc)
    usage_pb2_grpc.add_UsageServiceServicer_to_server(
        UsageApi(usage, balances, receipt_keys, signer, waiters, feed, settings), server.grpc
    )
    tokens_pb2_grpc.add_TokenServiceServicer_to_server(TokenApi(tokens, nc), server.grpc)
    await server.start()
    lifecycle.settle_memory()
    async with lifecycle.background(
        consumer.run(), feed.run(), _expire_grants(grants, settings.grant_ttl_s), _keep_partitions(bookings)
    ):
        await lifecycle.stopped()
        await server.stop(settings.drain_s)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nc.drain(), 5)
    await pool.close()


def _callers(tokens: TokenStore, settings: LedgerSettings) -> Callers:
    async def find(token_hash: bytes) -> Caller | None:
        found = await tokens.find(token_hash)
        return caller_of(found) if found else None

    return Callers(settings.internal_token, find, settings.token_ttl_s, settings.tokens)


async def _listen(nc: Client, callers: Callers, feed: Feed) -> None:
    """Hears of revoked tokens and of bookings from now on."""

    async def token_changed(message: Msg) -> None:
        callers.forget(message.data)

    async def booked(_: Msg) -> None:
        feed.ring()

    await nc.subscribe(bus.TOKENS_CHANGED, cb=token_changed)
    await nc.subscribe(bus.USAGE_BOOKED, cb=booked)


async def _expire_grants(grants: GrantStore, ttl_s: float) -> None:
    """Not before a grant's whole life has passed: while the ledger was away, nobody could renew."""
    await asyncio.sleep(ttl_s)
    while True:
        await asyncio.sleep(_EXPIRE_EVERY_S)
        try:
            lost = await grants.expire_grants()
            if lost:
                _log.warning("grants_expired", count=lost)
        except (psycopg.Error, PoolTimeout) as error:
            _log.warning("grant_expiry_postponed", error=repr(error))


async def _keep_partitions(bookings: BookingStore) -> None:
    while True:
        await asyncio.sleep(_PARTITIONS_EVERY_S)
        try:
            await bookings.ensure_partitions()
        except (psycopg.Error, PoolTimeout) as error:
            _log.warning("partitions_postponed", error=repr(error))
