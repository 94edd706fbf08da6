"""An upstream that means harm: it answers each request with the bytes of the path that was asked."""

import contextlib
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

ANSWER = (
    b'{"id":"msg_hostile","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Hello"}],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":20}}'
)
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def whole(body: bytes = ANSWER, head: bytes = b"") -> bytes:
    """An answer with further lines in its head."""
    return OK + head + b"content-length: %d\r\n\r\n" % len(body) + body


class HostileUpstream(socketserver.ThreadingTCPServer):
    """Says what `scenes` has, by the first segment of the path, as long as anybody reads it.

    Args:
        scenes: pieces to say; an endless one makes an endless answer.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, scenes: Mapping[str, Iterable[bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.scenes = scenes
        self.asked: Counter[str] = Counter()
        self.counting = threading.Lock()

    def url(self, scene: str) -> str:
        """Where a scene is played."""
        return f"http://127.0.0.1:{self.server_address[1]}/{scene}"


class _Connection(socketserver.BaseRequestHandler):
    server: HostileUpstream
    request: socket.socket

    def handle(self) -> None:
        with contextlib.suppress(OSError), self.request.makefile("rb") as reading:
            while line := reading.readline():
                length = 0
                while (field := reading.readline()) not in (b"\r\n", b""):
                    name, _, value = field.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                reading.read(length)
                scene = line.split(b"/")[1].decode()
                with self.server.counting:
                    self.server.asked[scene] += 1
                for piece in self.server.scenes[scene]:
                    self.request.sendall(piece)
                if not scene.startswith("kept"):
                    return


@contextlib.contextmanager
def hostile(scenes: Mapping[str, Iterable[bytes]]) -> Iterator[HostileUpstream]:
    """One that runs until the block ends."""
    with HostileUpstream(scenes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
