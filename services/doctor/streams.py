"""NATS: whether it answers, whether the streams are there, on how many servers, and how full they are."""

from collections.abc import AsyncIterator
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError

from services.doctor.finding import Finding, fault, ok, warning
from services.shared import bus
from services.shared.tls import Tls

_BUCKET: Final = f"KV_{bus.COOLDOWNS_BUCKET}"
_REPLICAS: Final = 3
_FULL: Final = 0.8
_TIMEOUT_S: Final = 5


async def examine(url: str, tls: Tls | None) -> AsyncIterator[Finding]:
    """Looks at NATS, by the URLs of its servers between commas."""

    async def quiet(_: Exception) -> None:
        pass

    nc = bus.TlsClient(tls) if tls else Client()
    try:
        await nc.connect(
            url.split(","),
            connect_timeout=_TIMEOUT_S,
            allow_reconnect=False,
            max_reconnect_attempts=0,
            error_cb=quiet,
            tls_handshake_first=tls is not None,
        )
    except (OSError, NatsError, TimeoutError) as error:
        yield fault(
            "nats",
            f"cannot be used: {error or repr(error)}",
            "Start NATS, or mend the URL. Edges keep usage in their journals meanwhile, until those are full",
        )
        return
    try:
        version, known = nc.connected_server_version, {url.netloc.rpartition("@")[2] for url in nc.servers}
        servers = len(known)
        yield ok("nats", f"version {version.major}.{version.minor}.{version.patch}, {servers} known servers")
        js = nc.jetstream(timeout=_TIMEOUT_S)
        for name, needed in ((bus.USAGE_STREAM, True), (bus.DEAD_STREAM, True), (_BUCKET, False)):
            async for finding in _stream(js, name, clustered=servers > 1, needed=needed):
                yield finding
    finally:
        await nc.close()


async def _stream(js: JetStreamContext, name: str, *, clustered: bool, needed: bool) -> AsyncIterator[Finding]:
    about = f"stream {name}"
    try:
        info = await js.stream_info(name)
    except NotFoundError:
        if needed:
            yield fault(about, "is not there", "Start a ledger, which makes it")
        return
    except (NatsError, TimeoutError) as error:
        yield fault(about, f"JetStream does not answer: {error!r}", "See whether most servers of the cluster are there")
        return
    yield _replicas(about, info, clustered=clustered)
    most = info.config.max_bytes or 0
    if most > 0 and info.state.bytes > _FULL * most:
        yield fault(
            about,
            f"{info.state.bytes} of {most} bytes are used",
            "See why booking is behind (ledger, Postgres), or replay dead letters; or raise"
            " TOLLHOUSE_LEDGER_STREAM_MAX_BYTES",
        )


def _replicas(about: str, info: StreamInfo, *, clustered: bool) -> Finding:
    replicas = info.config.num_replicas or 1
    if clustered and replicas < _REPLICAS:
        return warning(
            about,
            f"on {replicas} server of a cluster: lost with it",
            f"Set TOLLHOUSE_LEDGER_STREAM_REPLICAS={_REPLICAS} and TOLLHOUSE_ROUTER_BUCKET_REPLICAS={_REPLICAS};"
            f" `nats stream edit` for what is there",
        )
    peers = (info.cluster.replicas or []) if info.cluster else []
    behind = [peer.name or "?" for peer in peers if peer.offline or not peer.current]
    if behind:
        return warning(about, f"not up to date on {', '.join(behind)}", "See whether that server of NATS runs")
    return ok(about, f"{info.state.messages} messages, on {replicas} servers" if replicas > 1 else "there")
