"""The transport to upstreams: one verb, send. aiohttp is behind it."""

import ssl
from collections.abc import Sequence
from enum import Enum
from typing import Final, Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

Headers = Sequence[tuple[bytes, bytes]]


class Failure(Enum):
    """How an exchange with an upstream failed."""

    CONNECT = "could not be reached"
    SILENT = "sent nothing within the time limit"
    DROPPED = "closed the connection without an answer"
    CUT = "broke off its answer"
    TOO_LARGE = "sent an answer over the limit"


class UpstreamFailed(Exception):
    """An exchange with an upstream that failed. `reached` tells whether the request may have got there."""

    def __init__(self, failure: Failure, *, reached: bool) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.reached = reached


class Answer(Protocol):
    """An upstream's answer, its head read."""

    status: int
    headers: Headers

    async def read(self, max_bytes: int) -> bytes:
        """The whole body. Raises UpstreamFailed."""

    async def chunk(self) -> bytes:
        """What arrived since the last call, b"" at the end. Raises UpstreamFailed."""

    def close(self) -> None:
        """Gives the connection back if the body ended, closes it otherwise. Never waits."""


class Transport(Protocol):
    """Sends requests to upstreams."""

    async def send(self, url: str, headers: Headers, body: bytes) -> Answer:
        """POSTs `body` and answers when the head of the answer is there. Raises UpstreamFailed."""

    async def close(self) -> None:
        """Closes idle connections."""


class AiohttpTransport:
    """The reference transport."""

    def __init__(self, connect_timeout_s: float, silence_timeout_s: float) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, ssl=ssl.create_default_context()),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=connect_timeout_s, sock_read=silence_timeout_s
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            trust_env=False,
        )
        self._urls: dict[str, URL] = {}

    async def send(self, url: str, headers: Headers, body: bytes) -> Answer:
        """See Transport."""
        fields = CIMultiDict([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
        try:
            response = await self._session.post(self._url(url), headers=fields, data=body, allow_redirects=False)
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            raise UpstreamFailed(Failure.CONNECT if connecting else Failure.SILENT, reached=not connecting) from None
        except aiohttp.ClientConnectorError:
            raise UpstreamFailed(Failure.CONNECT, reached=False) from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamFailed(Failure.DROPPED, reached=True) from None
        return _AiohttpAnswer(response)

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


_URLS_MAX: Final = 10_000


class _AiohttpAnswer:
    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
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
            return await self._response.content.readany()
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise UpstreamFailed(Failure.SILENT, reached=True) from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamFailed(Failure.CUT, reached=True) from None

    def close(self) -> None:
        self._response.close()
