"""The reference transport: what `transport` is compared with, and what an operator may fall back to."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from services.edge.upstream import Answer, Failure, Headers, Patience, UpstreamFailed
from services.shared.sockets import public_socket

_URLS_MAX: Final = 10_000


class AiohttpTransport:
    """aiohttp behind the port."""

    def __init__(
        self,
        connect_timeout_s: float,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        private: bool = False,
    ) -> None:
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                ttl_dns_cache=60,
                ssl=ssl_context or ssl.create_default_context(),
                socket_factory=None if private else public_socket,
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect_timeout_s, sock_read=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            trust_env=False,
        )
        self._urls: dict[str, URL] = {}

    async def send(self, url: str, headers: Headers, body: bytes, patience: Patience) -> Answer:
        """See Transport."""
        fields = CIMultiDict([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
        try:
            async with asyncio.timeout(patience.head_s):
                response = await self._session.post(
                    self._url(url), headers=fields, data=body, allow_redirects=False, proxy=self._proxy
                )
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            raise UpstreamFailed(Failure.CONNECT if connecting else Failure.SILENT, reached=not connecting) from None
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError):
            raise UpstreamFailed(Failure.CONNECT, reached=False) from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamFailed(Failure.DROPPED, reached=True) from None
        return _AiohttpAnswer(response, patience.idle_s)

    def _url(self, url: str) -> URL:
        parsed = self._urls.get(url)
        if parsed is None:
            if len(self._urls) >= _URLS_MAX:
                self._urls.clear()
            parsed = self._urls[url] = URL(url, encoded=True)
        return parsed

    async def close(self) -> None:
        """See Transport."""
        await self._session.close()


class _AiohttpAnswer:
    __slots__ = ("_idle_s", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, idle_s: float) -> None:
        self._response = response
        self._idle_s = idle_s
        self.status = response.status
        self.headers: Headers = response.raw_headers

    async def read(self, max_bytes: int) -> bytes:
        chunks = []
        size = 0
        while chunk := await self.chunk():
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise UpstreamFailed(Failure.TOO_LARGE, reached=True)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def chunk(self) -> bytes:
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._response.content.readany()
        except TimeoutError:
            raise UpstreamFailed(Failure.SILENT, reached=True) from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamFailed(Failure.CUT, reached=True) from None

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        while chunk := await self.chunk():
            if not take(chunk):
                return False
        return True

    def close(self) -> None:
        self._response.close()
