"""The brands, as auth has them, and which of them a request's host names."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import grpc
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.edge.brand import BUILT_IN, Brand, from_message
from services.shared import bus, principal
from services.shared.errors import Refusal
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2

_log = logger("brands")

_LOOK_S: Final = 30.0
_AGAIN_S: Final = 0.25
_TIMEOUT_S: Final = 5.0
_FIELDS_MAX: Final = 1000


class Lists(Protocol):
    """What is asked of auth: its ListBrands."""

    async def ListBrands(  # noqa: N802
        self, request: auth_pb2.ListBrandsRequest, *, timeout: float
    ) -> auth_pb2.ListBrandsResponse: ...


class Brands:
    """The brands, at most a moment old.

    Args:
        auth: gives the stub of a replica to ask; raises Refusal while none is known.
    """

    def __init__(self, auth: Callable[[], Lists]) -> None:
        self._auth = auth
        self._by_host: dict[bytes, Brand] = {}
        self._by_field: dict[bytes, Brand] = {}
        """What `of_host` answered, by the whole value of the header."""
        self._changed = asyncio.Event()
        self.default = BUILT_IN
        """What answers for hosts that no brand names."""
        self.prefixes: tuple[str, ...] = principal.KNOWN_PREFIXES
        """What keys may begin with, longest first."""
        self.known = asyncio.Event()
        """Set when auth has told them for the first time. Until then keys of a brand's own prefix are not recognised,
        so that an edge should take no clients."""

    def of_host(self, host: bytes) -> Brand:
        """The brand of a request's Host header, whose port and case do not matter; the default brand otherwise."""
        brand = self._by_field.get(host)
        if brand is None:
            brand = self._by_host.get(_name_of(host), self.default)
            if len(self._by_field) < _FIELDS_MAX:
                self._by_field[host] = brand
        return brand

    def take(self, brands: Iterable[Brand]) -> None:
        """These are the brands from now on."""
        told = tuple(brands)
        self._by_field.clear()
        self._by_host = {host.encode(): brand for brand in told for host in brand.hosts}
        self.default = next((brand for brand in told if brand.is_default), BUILT_IN)
        self.prefixes = principal.longest_first(brand.key_prefix for brand in told)

    async def listen(self, nc: Client) -> None:
        """Hears of changes from now on."""

        async def changed(_: Msg) -> None:
            self._changed.set()

        await nc.subscribe(bus.BRAND_CHANGED, cb=changed)

    async def keep(self) -> None:
        """Asks auth whenever something changed, and now and then; until cancelled."""
        while True:
            self._changed.clear()
            wait_s = _LOOK_S if await self._load() else _AGAIN_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _load(self) -> bool:
        try:
            response = await self._auth().ListBrands(auth_pb2.ListBrandsRequest(), timeout=_TIMEOUT_S)
        except Refusal:
            return False  # none has been heard of yet
        except grpc.aio.AioRpcError as error:
            # An auth of the version before has no brands: what is built in answers, as it did then.
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                _log.warning("brands_not_loaded", error=error.code().name)
                return False
            response = auth_pb2.ListBrandsResponse()
        self.take(from_message(brand) for brand in response.brands)
        self.known.set()
        return True


def _name_of(host: bytes) -> bytes:
    """The host of `host[:port]`, in lower case. An IPv6 address stands in brackets (RFC 3986 section 3.2.2)."""
    name, colon, port = host.rpartition(b":")
    if colon and (port.isdigit() or not port):
        host = name
    return host.lower()
