"""What the simulator served: tests hold the ledger against it."""

import hashlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

from services.simulator.tokens import Counts

_CREDENTIALS: Final = ("x-api-key", "authorization")
_CREDENTIALS_MAX: Final = 20_000
_OUR_OWN: Final = "sim-"


@dataclass
class Served:
    """One request and what of its answer was sent."""

    path: str
    headers: list[tuple[str, str]]
    body_sha256: str
    request_id: str
    message_id: str
    method: str = "POST"
    stream: bool = False
    status: int = 0
    """0 until the answer begins."""
    aborted: bool = False
    tokens: Counts = field(default_factory=Counts)
    sent_bytes: int = 0
    epoch: int = 0
    credential: str = field(default="", repr=False)
    digest: Any = field(default_factory=hashlib.sha256, repr=False)

    def sent(self, data: bytes) -> None:
        """Notes bytes of the answer's body."""
        self.digest.update(data)
        self.sent_bytes += len(data)

    def shown(self) -> dict[str, Any]:
        """For tests; credentials as their SHA-256."""
        return {
            "method": self.method,
            "path": self.path,
            "headers": [
                (name, sha256(credential(value).encode()) if name.lower() in _CREDENTIALS else value)
                for name, value in self.headers
            ],
            "body_sha256": self.body_sha256,
            "request_id": self.request_id,
            "message_id": self.message_id,
            "stream": self.stream,
            "status": self.status,
            "aborted": self.aborted,
            "tokens": _shown(self.tokens),
            "response_bytes": self.sent_bytes,
            "response_sha256": self.digest.hexdigest(),
        }


class Book:
    """Totals, and the last requests one by one. All but `requests`, `open` and those by credential count when
    an answer has ended."""

    def __init__(self, remember: int) -> None:
        self._remember = remember
        self._open = 0
        self._epoch = 0
        self.reset()

    def reset(self) -> None:
        """Forgets what was served. Requests under way stay open, and are not counted when they end."""
        self._epoch += 1
        self._requests = self._streams = self._aborted = 0
        self._by_status: Counter[int] = Counter()
        self._by_credential: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._last: deque[Served] = deque(maxlen=self._remember)

    def begin(self, served: Served) -> None:
        """A request came in."""
        served.epoch = self._epoch
        self._requests += 1
        self._open += 1
        self._by_credential[served.credential] += 1
        if len(self._by_credential) > _CREDENTIALS_MAX:
            del self._by_credential[next(iter(self._by_credential))]
        self._last.append(served)

    def end(self, served: Served) -> None:
        """Its answer ended, or broke off, or the client left."""
        self._open -= 1
        if served.epoch != self._epoch:
            return
        self._streams += served.stream
        self._aborted += served.aborted
        if served.status:
            self._by_status[served.status] += 1
        self._tokens.update(_shown(served.tokens))

    def totals(self) -> dict[str, Any]:
        """GET /__served."""
        return {
            "requests": self._requests,
            "streams": self._streams,
            "open": self._open,
            "aborted": self._aborted,
            "by_credential": {_named(one): count for one, count in self._by_credential.items()},
            "by_status": {str(status): count for status, count in sorted(self._by_status.items())},
            "tokens": {name: self._tokens[name] for name in _shown(Counts())},
        }

    def last(self, count: int) -> list[dict[str, Any]]:
        """GET /__served/requests: the latest last."""
        return [served.shown() for served in list(self._last)[max(0, len(self._last) - count) :]]


def credential(value: str) -> str:
    """The credential in an x-api-key or authorization header."""
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value.strip()


def _named(one: str) -> str:
    """A credential made for the simulator is no secret; others are shown by their digest."""
    return one if not one or one.startswith(_OUR_OWN) else sha256(one.encode())


def sha256(data: bytes) -> str:
    """The digest that tests compare with."""
    return hashlib.sha256(data).hexdigest()


def _shown(counts: Counts) -> dict[str, int]:
    return {
        "input": counts.input,
        "output": counts.output,
        "cache_read": counts.cache_read,
        "cache_write_5m": counts.cache_write_5m,
        "cache_write_1h": counts.cache_write_1h,
    }
