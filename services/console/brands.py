"""Which brand a page speaks for: the list that auth keeps, looked up by the host of a request."""

from __future__ import annotations  # the asynchronous stubs exist for type checkers only

from collections.abc import Iterable
from typing import Final

from services.console.clients import Clients
from services.shared import clock, principal
from services.shared.errors import Refusal
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2

BUILT_IN: Final = auth_pb2.Brand(
    name="tollhouse",
    title="Tollhouse",
    base_paths=["/v1"],
    key_prefix=principal.KEY_PREFIX,
    top_ups=[auth_pb2.TOP_UP_VOUCHER, auth_pb2.TOP_UP_CARD, auth_pb2.TOP_UP_CRYPTO],
)
"""What pages speak for where no brand is stored; it takes every payment that the settings have a provider for."""

_FRESH_S: Final = 5.0
_log = logger("brands")


def sells_by(brand: auth_pb2.Brand, way: auth_pb2.TopUp.ValueType) -> bool:
    """Whether the brand's customers may top up this way; a brand that lists no way takes all that are set up."""
    return not brand.top_ups or way in brand.top_ups


class Brands:
    """Every brand by its hosts, read anew every few seconds; an old list serves while auth does not answer."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._by_host: dict[str, auth_pb2.Brand] = {}
        self._default = BUILT_IN
        self._read_s: float | None = None

    async def of(self, host: str) -> auth_pb2.Brand:
        """The brand of a Host header's value."""
        if self._read_s is None or clock.monotonic_s() - self._read_s > _FRESH_S:
            self._read_s = clock.monotonic_s()  # first: those who come meanwhile are served the old list
            await self._read()
        return self._by_host.get(bare_host(host), self._default)

    async def _read(self) -> None:
        try:
            listed = await self._clients.auth.ListBrands(auth_pb2.ListBrandsRequest())
        except Refusal as refusal:
            _log.warning("brands_not_read", error=str(refusal))
            return
        self._by_host, self._default = by_host(listed.brands)


def by_host(brands: Iterable[auth_pb2.Brand]) -> tuple[dict[str, auth_pb2.Brand], auth_pb2.Brand]:
    """Brands by host, and the one for all other hosts."""
    found, default = {}, BUILT_IN
    for brand in brands:
        found.update(dict.fromkeys(brand.hosts, brand))
        if brand.is_default:
            default = brand
    return found, default


def bare_host(host: str) -> str:
    """A Host header's value in lower case without its port."""
    name, colon, port = host.strip().lower().rpartition(":")
    return name if colon and port.isdigit() else host.strip().lower()
