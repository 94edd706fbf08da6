"""The simulator's server: HTTP/1.1 on a bare asyncio.Protocol, so that connections can be broken at any byte."""

import asyncio
import datetime
import itertools
from collections import Counter
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httptools
import msgspec

from services.shared import clock, lifecycle
from services.simulator import messages, script
from services.simulator.served import Book, Served, credential, sha256
from services.simulator.settings import SimulatorSettings

_BAD_CREDENTIALS: Final = {"sim-bad": 401, "sim-denied": 403}
_UNKNOWN_MODEL: Final = "unknown-upstream-model"
_JSON: Final = ("content-type", "application/json")
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus} | {529: "Site Overloaded"}


async def serve(settings: SimulatorSettings) -> None:
    """Runs the simulator until SIGTERM."""
    server = await listen(settings)
    await lifecycle.stopped()
    server.close()


async def listen(settings: SimulatorSettings) -> asyncio.Server:
    """Listens; each connection's requests are answered one after the other."""
    simulator = Simulator(settings)
    return await asyncio.get_running_loop().create_server(
        lambda: _Connection(simulator), settings.host, settings.port, backlog=4096
    )


class Simulator:
    """The provider: its books, and what scripts with `times` have used up."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.book = Book()
        self._numbers = itertools.count(1)
        self._times: Counter[str] = Counter()

    def next_ids(self) -> tuple[str, str]:
        """An id for the request and one for the message."""
        number = f"{next(self._numbers):024d}"
        return f"req_{number}", f"msg_{number}"

    def applies(self, asked: script.Script, credential_sent: str) -> bool:
        """Whether a script is for this request."""
        if asked.only_credential and asked.only_credential != credential_sent:
            return False
        if asked.id:
            self._times[asked.id] += 1
            return self._times[asked.id] <= asked.times
        return True


class _Request:
    """One request as it arrives."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.size = 0

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class _Connection(asyncio.Protocol):
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._parser = httptools.HttpRequestParser(self)
        self._coming = _Request()
        self._queue: asyncio.Queue[tuple[str, _Request]] = asyncio.Queue()
        self._serving: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._serving = asyncio.create_task(self._serve())

    def connection_lost(self, error: Exception | None) -> None:
        if self._serving is not None:
            self._serving.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    # ---- httptools ----

    def on_url(self, url: bytes) -> None:
        self._coming.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._coming.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if self._coming.header("expect").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._coming.size += len(data)
        if self._coming.size <= self._simulator.settings.body_max_bytes:
            self._coming.body.append(data)

    def on_message_complete(self) -> None:
        self._queue.put_nowait((self._parser.get_method().decode(), self._coming))
        self._coming = _Request()

    # ---- answering ----

    async def _serve(self) -> None:
        while True:
            method, request = await self._queue.get()
            path = urlsplit(request.url.decode("latin-1"))
            if method == "POST" and path.path == "/v1/messages":
                await self._messages(request)
            else:
                status, body = self._rest(method, path.path, path.query)
                self._head(status, [_JSON], len(body))
                self._transport.write(b"" if method == "HEAD" else body)

    def _rest(self, method: str, path: str, query: str) -> tuple[int, bytes]:
        book = self._simulator.book
        if path == "/" and method in ("GET", "HEAD"):
            return 200, b'{"name":"simulator"}'
        if path == "/__served" and method == "GET":
            return 200, msgspec.json.encode(book.totals())
        if path == "/__served" and method == "DELETE":
            book.reset()
            return 200, b"{}"
        if path == "/__served/requests" and method == "GET":
            last = parse_qs(query).get("last", ["100"])[0]
            return 200, msgspec.json.encode({"requests": book.last(int(last) if last.isdigit() else 100)})
        return 404, messages.error("not_found_error", f"there is no {method} {path}", "")

    async def _messages(self, request: _Request) -> None:
        body = b"".join(request.body)
        request_id, message_id = self._simulator.next_ids()
        url = request.url.decode("latin-1")
        served = Served("POST", url, request.headers, sha256(body), request_id, message_id)
        self._simulator.book.begin(served)
        try:
            await self._answer(request, body, served)
        except asyncio.CancelledError:
            served.aborted = True
            raise
        finally:
            self._simulator.book.end(served)

    async def _answer(self, request: _Request, body: bytes, served: Served) -> None:
        sent = credential(request.header("x-api-key") or request.header("authorization"))
        if request.size > self._simulator.settings.body_max_bytes:
            self._error(served, 413, "the request is too large", script.Script())
            return
        try:
            asked = messages.read(body)
            scripted = script.parse(request.header("x-simulator"), asked.prompt)
        except (messages.Invalid, script.ScriptError) as fault:
            self._error(served, 400, str(fault), script.Script())
            return
        if not self._simulator.applies(scripted, sent):
            scripted = script.Script()
        status = scripted.status or _BAD_CREDENTIALS.get(sent) or (None if sent else 401)
        if status is None and asked.model == _UNKNOWN_MODEL:
            status = 404
        await _pause(self._simulator.settings.first_ms if scripted.first_ms is None else scripted.first_ms)
        if scripted.hang == "before":
            await asyncio.Event().wait()
        if scripted.cut_after == -1:
            self._transport.abort()
        elif status is not None:
            self._error(served, status, scripted.message, scripted)
        elif asked.stream:
            await self._stream(asked, scripted, served)
        else:
            await self._plain(asked, scripted, served)

    def _error(self, served: Served, status: int, message: str, scripted: script.Script) -> None:
        served.status = status
        body = messages.error(script.STATUSES[status], message, served.request_id)
        self._head(status, [_JSON, *_headers(served, scripted)], len(body))
        self._send(served, body)

    async def _plain(self, asked: messages.Request, scripted: script.Script, served: Served) -> None:
        counts = messages.plan(asked, scripted)
        body = messages.answer(asked, scripted, counts, served.message_id)
        served.status = 200
        self._head(200, [_JSON, *_headers(served, scripted)], len(body))
        if scripted.cut_after is not None:
            self._send(served, body[: len(body) // 2] if scripted.cut_after else b"")
            await asyncio.sleep(0.01)  # so that what was written leaves before the connection breaks
            self._transport.abort()
            return
        served.tokens = counts
        self._send(served, body)

    async def _stream(self, asked: messages.Request, scripted: script.Script, served: Served) -> None:
        counts = messages.plan(asked, scripted)
        gap_ms = self._simulator.settings.gap_ms if scripted.gap_ms is None else scripted.gap_ms
        served.status, served.stream = 200, True
        content_type = ("content-type", "text/event-stream; charset=utf-8")
        self._head(200, [content_type, ("cache-control", "no-cache"), *_headers(served, scripted)], None)
        for number, (event, tokens) in enumerate(messages.events(asked, scripted, counts, served.message_id)):
            if number == scripted.cut_after:
                if scripted.hang == "after":
                    await asyncio.Event().wait()
                await asyncio.sleep(0.01)
                self._transport.abort()
                return
            if number:
                await _pause(gap_ms)
            if b"message_start" in event[:22]:
                served.tokens = replace(counts, output=0)
            await self._send_event(served, event.replace(b"\n", b"\r\n") if scripted.crlf else event, scripted.chunk)
            served.tokens = replace(served.tokens, output=served.tokens.output + tokens)
        self._transport.write(b"0\r\n\r\n")

    async def _send_event(self, served: Served, event: bytes, split: int) -> None:
        for begin in range(0, len(event), split or len(event)):
            piece = event[begin : begin + (split or len(event))]
            served.sent(piece)
            self._transport.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if split:
                await asyncio.sleep(0)
        await self._writable.wait()

    def _send(self, served: Served, body: bytes) -> None:
        served.sent(body)
        self._transport.write(body)

    def _head(self, status: int, headers: list[tuple[str, str]], length: int | None) -> None:
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in headers)]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        self._transport.write("\r\n".join([*lines, "\r\n"]).encode("latin-1"))


async def _pause(ms: float) -> None:
    if ms:
        await asyncio.sleep(ms / clock.MS_PER_S)


def _headers(served: Served, scripted: script.Script) -> list[tuple[str, Any]]:
    """What Anthropic's answers carry beside their type; some of it is our account's business only."""
    reset_ms = clock.now_ms() + (60 if scripted.reset_s is None else scripted.reset_s) * clock.MS_PER_S
    reset = datetime.datetime.fromtimestamp(reset_ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = [
        ("request-id", served.request_id),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", reset),
        ("anthropic-ratelimit-unified-reset", str(reset_ms // 1000)),
    ]
    if scripted.retry_after is not None:
        headers.append(("retry-after", str(scripted.retry_after)))
    return headers
