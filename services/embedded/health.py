"""Is a process ready? One question for each protocol, chosen by the scheme of a health URL."""

import asyncio
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import grpc
import psycopg
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.client import Client
from nats.errors import Error as NatsError

from services.shared import rpc
from services.shared.bus import TlsClient
from services.shared.permissions import peer_named
from services.shared.tls import Tls

_TIMEOUT_S: Final = 2.0
_NATS_PORT: Final = 4222


async def healthy(url: str, tls: Tls | None = None, part: str = "") -> bool:
    """Whether what listens there is ready: postgresql, nats and tls (JetStream), grpc (health service), http (200).
    With `tls` NATS and gRPC are asked over TLS, and the latter must be the service `part`."""
    scheme = urlsplit(url).scheme
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            if scheme in ("nats", "tls"):
                return await _nats(url, tls)
            if scheme == "grpc":
                return await _grpc(url, tls, part)
            return await {"postgresql": _postgres, "http": _http}[scheme](url)
    except (OSError, TimeoutError, psycopg.Error, NatsError, grpc.RpcError):
        return False


def with_credentials(url: str, user: str, password: str) -> str:
    """The URL with this user and password instead of its own."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"))


async def _postgres(url: str) -> bool:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=2) as connection:
        await connection.execute("SELECT 1")
    return True


async def _nats(url: str, tls: Tls | None) -> bool:
    async def quiet(_error: Exception) -> None:
        pass

    await _knock(url, _NATS_PORT)
    client = TlsClient(tls) if tls else Client()
    await client.connect(
        url,
        connect_timeout=1,
        allow_reconnect=False,
        max_reconnect_attempts=0,
        error_cb=quiet,
        tls_handshake_first=tls is not None,
    )
    try:
        await client.jetstream().account_info()
    finally:
        await client.close()
    return True


async def _grpc(url: str, tls: Tls | None, part: str) -> bool:
    await _knock(url)
    async with rpc.channel(urlsplit(url).netloc, tls=tls, to=peer_named(part)) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
        answer = await check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _knock(url: str, usual_port: int | None = None) -> None:
    """Raises OSError where nobody listens. The clients of gRPC and NATS find that out at a cost, or try for seconds in
    which somebody may have come; whoever waits for a start asks often, and must leave the processor to what starts."""
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port or usual_port)
    writer.close()


async def _http(url: str) -> bool:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        head = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        return (await reader.readline()).split(b" ")[1:2] == [b"200"]
    finally:
        writer.close()
