"""The transports: one for upstreams that are reached directly, one for each proxy that an account goes through."""

from typing import Final

from services.edge.pressure import Pressure
from services.edge.settings import EdgeSettings
from services.edge.transport import PooledTransport
from services.edge.upstream import Transport

_PROXIES_MAX: Final = 1000


class Transports:
    """Made where an event loop runs; those for proxies when they are first needed."""

    def __init__(self, settings: EdgeSettings, pressure: Pressure) -> None:
        self._connect_timeout_s = settings.connect_timeout_s
        self._private = settings.private_upstreams
        self._direct: Transport = (
            PooledTransport(settings.connect_timeout_s, rest_s=pressure.rest_s, private=settings.private_upstreams)
            if settings.transport == "pooled"
            else self._aiohttp(None)
        )
        self._proxied: dict[str, Transport] = {}

    def to(self, proxy: str) -> Transport:
        """The transport that goes through `proxy`, or directly when it is empty."""
        if not proxy:
            return self._direct
        transport = self._proxied.get(proxy)
        if transport is None:
            if len(self._proxied) >= _PROXIES_MAX:  # the oldest; its exchanges under way keep it until they end
                del self._proxied[next(iter(self._proxied))]
            transport = self._proxied[proxy] = self._aiohttp(proxy)
        return transport

    async def close(self) -> None:
        """Closes idle connections."""
        for transport in (self._direct, *self._proxied.values()):
            await transport.close()

    def _aiohttp(self, proxy: str | None) -> Transport:
        from services.edge.transport_aiohttp import AiohttpTransport  # not loaded where it is not used

        return AiohttpTransport(self._connect_timeout_s, proxy=proxy, private=self._private)
