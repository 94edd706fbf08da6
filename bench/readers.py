"""Clients that read slowly: sockets of which each reads one byte when it is told to."""

import json
import socket
from types import TracebackType
from urllib.parse import urlsplit

_RECEIVE_BUFFER_BYTES = 4096
"""Little is kept on the way to a slow reader, so that the gateway feels it soon."""


class SlowReaders:
    """So many open streams that nobody reads."""

    def __init__(self, base_url: str, key: str, model: str, readers: int) -> None:
        self._place = urlsplit(base_url)
        body = json.dumps(
            {
                "model": model,
                "max_tokens": 100_000,
                "stream": True,
                "messages": [{"role": "user", "content": "Tell me everything."}],
            }
        ).encode()
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._sockets = [self._opened() for _ in range(readers)]

    def __enter__(self) -> "SlowReaders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in self._sockets:
            sock.close()

    def read_a_byte(self) -> int:
        """Each reads one byte, if there is one; how many did."""
        got = 0
        for sock in self._sockets:
            try:
                got += len(sock.recv(1))
            except BlockingIOError:
                continue
        return got

    def _opened(self) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.settimeout(30)
        sock.connect((self._place.hostname, self._place.port))
        sock.sendall(self._request)
        sock.setblocking(False)
        return sock
