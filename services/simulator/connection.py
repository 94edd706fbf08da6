"""HTTP/1.1 on a bare asyncio.Protocol: an answer can break off at any byte, and a client that leaves is noticed at
once, both of which an ASGI server keeps from its application."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import httptools

_PIPELINED_MAX: Final = 64
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus} | {529: "Site Overloaded"}

Headers = list[tuple[str, str]]


class Request:
    """One request: method, target (path and query), headers as received, body."""

    def __init__(self) -> None:
        self.method = ""
        self.target = ""
        self.headers: Headers = []
        self.body = b""
        self.too_large = False
        self.keep_alive = True
        self._first: dict[str, str] = {}

    def add_header(self, name: str, value: str) -> None:
        """Notes a header; of several with one name the first counts."""
        self.headers.append((name, value))
        self._first.setdefault(name.lower(), value)

    def header(self, name: str) -> str:
        """The header of that lower-case name; empty when absent."""
        return self._first.get(name, "")


Handle = Callable[[Request, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """Answers requests one after the other with `handle`, which is cancelled when the client leaves."""

    def __init__(self, handle: Handle, body_max_bytes: int) -> None:
        self._handle = handle
        self._body_max_bytes = body_max_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._coming, self._target, self._body, self._body_bytes = Request(), b"", list[bytes](), 0
        self._waiting: asyncio.Queue[Request] = asyncio.Queue()
        self._answering = Request()
        self._writable = asyncio.Event()
        self._writable.set()

    def head(self, status: int, headers: Headers, length: int | None) -> None:
        """Writes status line and headers; without a length, chunks follow."""
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *[f"{name}: {value}" for name, value in headers]]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        if not self._answering.keep_alive:
            lines.append("connection: close")
        lines.append("\r\n")
        self._transport.write("\r\n".join(lines).encode("latin-1"))

    def write(self, data: bytes) -> None:
        """Writes a body, or a part of it, as it is; nothing in answer to HEAD."""
        if self._answering.method != "HEAD":
            self._transport.write(data)

    def write_chunks(self, pieces: list[bytes]) -> None:
        """Writes each piece as a chunk of its own, all at once."""
        self._transport.write(b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]))

    def end_chunks(self) -> None:
        """Ends a chunked body."""
        self._transport.write(b"0\r\n\r\n")

    async def drain(self) -> None:
        """Waits until the client has read most of what was written."""
        await self._writable.wait()

    def cut(self) -> None:
        """Closes the connection behind what was written, however much of the answer is missing."""
        self._transport.close()

    async def _answer(self) -> None:
        try:
            while not self._transport.is_closing():
                self._answering = await self._waiting.get()
                await self._handle(self._answering, self)
                if not self._answering.keep_alive:
                    self.cut()
        except Exception as fault:
            self._transport.abort()
            context = {"message": "the simulator itself failed", "exception": fault, "protocol": self}
            asyncio.get_running_loop().call_exception_handler(context)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._task = asyncio.create_task(self._answer())

    def connection_lost(self, error: Exception | None) -> None:
        self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.abort()  # a gateway that lets a client's Upgrade through is to notice

    # From here on, what httptools calls.

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._coming.add_header(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        if self._coming.header("expect").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes <= self._body_max_bytes:
            self._body.append(data)

    def on_message_complete(self) -> None:
        request = self._coming
        request.method, request.target = self._parser.get_method().decode(), self._target.decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive()
        request.body, request.too_large = b"".join(self._body), self._body_bytes > self._body_max_bytes
        self._coming, self._target, self._body, self._body_bytes = Request(), b"", [], 0
        self._waiting.put_nowait(request)
        if self._waiting.qsize() > _PIPELINED_MAX:
            self._transport.abort()
