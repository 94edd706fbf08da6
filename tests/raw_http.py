"""HTTP as bytes: what no proper client sends, and all that comes back for it."""

import contextlib
import re
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Z]")


@dataclass(frozen=True)
class Said:
    """All that a server said until it closed the connection."""

    data: bytes

    @property
    def statuses(self) -> list[int]:
        """Of its answers, in order; no body of ours quotes a status line."""
        return [int(status) for status in _STATUS.findall(self.data)]


def connected(url: str, timeout_s: float = 20) -> socket.socket:
    """A connection to a server."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=timeout_s)


def said_to(url: str, *pieces: bytes, pause_s: float = 0.0) -> Said:
    """What the server answers to bytes until it closes; TimeoutError when it does not."""
    with connected(url) as sock:
        for piece in pieces:
            with contextlib.suppress(ConnectionError):  # it has heard enough
                sock.sendall(piece)
            if pause_s:
                time.sleep(pause_s)
        return rest_of(sock)


def rest_of(sock: socket.socket) -> Said:
    """What still comes until the server closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):  # it closed with bytes of ours unread
        while piece := sock.recv(65536):
            data += piece
    return Said(data)
