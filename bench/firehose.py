"""An upstream that streams as fast as it is read, and knows how much it could send.

A thread for each connection and blocking sends: what its sockets do not take, it has not sent.
"""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

_CHUNK_BYTES = 64 * 1024
_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_firehose","type":"message",'
    b'"role":"assistant","model":"firehose","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":10,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
)
_END = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":100}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
_PLAIN = (
    b'{"id":"msg_firehose","type":"message","role":"assistant","model":"firehose",'
    b'"content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":10,"output_tokens":100}}'
)


def _delta(size_bytes: int) -> bytes:
    """One event of about so many bytes."""
    head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    head += b'"delta":{"type":"text_delta","text":"'
    return head + b"x" * (size_bytes - len(head) - 5) + b'"}}\n\n'


class Firehose(socketserver.ThreadingTCPServer):
    """Answers every request that asks for a stream with one of `stream_bytes`, any other with a few words.

    Args:
        plain_after_s: how long a plain answer takes; its request is held by whoever sent it for so long.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, stream_bytes: int, plain_after_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.stream_bytes = stream_bytes
        self.plain_after_s = plain_after_s
        self.stopping = threading.Event()
        self.sent_bytes: dict[int, int] = {}
        """Of each stream, what the sockets took; streams are numbered as they begin."""
        self.broken = 0
        """Streams whose reader left."""
        self._counting = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def begin_stream(self) -> int:
        """The number of a stream that begins."""
        with self._counting:
            number = len(self.sent_bytes)
            self.sent_bytes[number] = 0
            return number


class _Connection(socketserver.BaseRequestHandler):
    """Requests of one connection, one after the other."""

    server: Firehose
    request: socket.socket

    def handle(self) -> None:
        with contextlib.suppress(OSError), self.request.makefile("rb") as lines:
            while lines.readline().strip():
                length = 0
                while line := lines.readline().strip().lower():
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                wants_stream = b'"stream": true' in lines.read(length)
                self._stream() if wants_stream else self._plain()

    def _plain(self) -> None:
        self.server.stopping.wait(self.server.plain_after_s)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_PLAIN)
        self.request.sendall(head + _PLAIN)

    def _stream(self) -> None:
        number = self.server.begin_stream()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self.request.sendall(head + _chunk(_START))
        delta = _chunk(_delta(_CHUNK_BYTES))
        try:
            for _ in range(self.server.stream_bytes // _CHUNK_BYTES):
                left = memoryview(delta)
                while left:
                    took = self.request.send(left)
                    left = left[took:]
                    self.server.sent_bytes[number] += took
            self.request.sendall(_chunk(_END) + b"0\r\n\r\n")
        except OSError:
            self.server.broken += 1
            raise


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@contextlib.contextmanager
def firehose(stream_bytes: int, plain_after_s: float = 0.0) -> Iterator[Firehose]:
    """A firehose that runs until the block ends."""
    server = Firehose(stream_bytes, plain_after_s)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
