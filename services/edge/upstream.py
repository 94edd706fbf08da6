"""The port to upstreams: one verb, send. `transport` is behind it, or `transport_aiohttp`."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[bytes, bytes]]


class Failure(Enum):
    """How an exchange with an upstream failed."""

    CONNECT = "could not be reached"
    SILENT = "sent nothing within the time limit"
    DROPPED = "closed the connection without an answer"
    CUT = "broke off its answer"
    TOO_LARGE = "sent an answer over the limit"
    TOO_LONG = "took longer than it may altogether"


class Patience(NamedTuple):
    """How long an upstream may be silent, in seconds: until the head of its answer, and between two pieces of it."""

    head_s: float
    idle_s: float


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
        """What arrived since the last call, b"" at the end. A call that was cancelled may be made again. Raises
        UpstreamFailed."""

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        """Hands what arrives to `take`, as it arrives, until the body has ended or `take` answers False: whether it has
        ended. Raises UpstreamFailed, and what `take` raises."""

    def close(self) -> None:
        """Gives the connection back if the body ended, closes it otherwise. Never waits."""


class Transport(Protocol):
    """Sends requests to upstreams."""

    async def send(self, url: str, headers: Headers, body: bytes, patience: Patience) -> Answer:
        """POSTs `body` and answers when the head of the answer is there. Raises UpstreamFailed."""

    async def close(self) -> None:
        """Closes idle connections."""
