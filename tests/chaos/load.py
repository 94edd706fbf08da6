"""Steady load of every kind that clients make, each request under an idempotency key of its own."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from tests.deployment import Tenant, message

_PATIENCE_S: Final = 30.0


@dataclass(frozen=True)
class Kind:
    """One kind of request: how the simulator is scripted, and when the client leaves."""

    name: str
    weight: int
    script: str
    stream: bool = False
    leaves_after_s: float = _PATIENCE_S
    leaves_after_chunks: int = 1 << 30


KINDS: Final = (
    Kind("plain", 40, "tokens={tokens}"),
    Kind("burst stream", 25, "tokens={tokens}", stream=True),
    Kind("paced stream", 12, "tokens=30;gap_ms=30", stream=True),
    Kind("slow answer", 5, "tokens=5;first_ms=1500"),
    Kind("client gone before the first byte", 4, "tokens=5;first_ms=3000", leaves_after_s=0.2),
    Kind("client gone in mid-stream", 5, "tokens=60;gap_ms=30", stream=True, leaves_after_chunks=5),
    Kind("second attempt", 4, "tokens=7;status=529;times=1;id={number}"),
    Kind("cut in mid-stream", 3, "tokens=40;gap_ms=5;cut_after=8", stream=True),
    Kind("upstream fault", 2, "status=500"),
)


STEADY: Final = (
    Kind("plain", 50, "tokens={tokens}"),
    Kind("burst stream", 30, "tokens={tokens}", stream=True),
    Kind("paced stream", 15, "tokens=40;gap_ms=50", stream=True),
    Kind("slow answer", 5, "tokens=5;first_ms=1000"),
)
"""Nothing that fails by itself, and nobody who leaves."""
SENT_AGAIN: Final = 2
"""How often the official SDKs send a request again whose connection broke before its answer began (`max_retries`), as
load balancers do too (nginx: `proxy_next_upstream error`)."""
_LAST_EVENT: Final = b'data: {"type":"message_stop"}\n\n'


@dataclass(frozen=True)
class Failed:
    """A request that did not get its whole answer; moments are of the monotonic clock."""

    number: int
    kind: str
    began_s: float
    ended_s: float
    said: str


@dataclass
class Load:
    """Clients that go on until they are told to stop."""

    base_url: str
    tenants: list[Tenant]
    rate: float
    """Requests a second."""
    kinds: tuple[Kind, ...] = KINDS
    sends_again: int = 0
    """How often a request is sent again whose connection broke before its answer began."""
    made: int = 0
    sent_again: int = 0
    slowest_s: float = 0.0
    failed: list[Failed] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)
    stopping: bool = False
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    async def run(self) -> None:
        """Makes requests at a steady rate, however long each takes; returns when all of them have ended."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            for number in itertools.count():
                if self.stopping:
                    break
                group.create_task(self._one(session, number))
                await asyncio.sleep(1 / self.rate)

    async def _one(self, session: aiohttp.ClientSession, number: int) -> None:
        kind = self._random.choices(self.kinds, [kind.weight for kind in self.kinds])[0]
        self.made += 1
        self.by_kind[kind.name] += 1
        began_s = time.monotonic()
        said = await self._asked(session, kind, number)
        self.outcomes[said] += 1
        ended_s = time.monotonic()
        if said == "200":
            self.slowest_s = max(self.slowest_s, ended_s - began_s)
        else:
            self.failed.append(Failed(number, kind.name, began_s, ended_s, said))

    async def _asked(self, session: aiohttp.ClientSession, kind: Kind, number: int) -> str:
        """Sends one request, again where that is allowed; answers how it ended, the status if with a whole answer."""
        tenant = self.tenants[number % len(self.tenants)]
        headers = {
            "x-api-key": tenant.key,
            "x-simulator": kind.script.format(tokens=1 + number % 40, number=number),
            "idempotency-key": f"chaos-{number}",
        }
        body = json.dumps(message(stream=kind.stream, max_tokens=200))
        for left in reversed(range(1 + self.sends_again)):
            response: aiohttp.ClientResponse | None = None
            try:
                async with asyncio.timeout(kind.leaves_after_s):
                    response = await session.post(f"{self.base_url}/v1/messages", data=body, headers=headers)
                    async with response:
                        return await _read(response, kind)
            except TimeoutError:
                return "left"
            except aiohttp.ClientError as error:
                if response is not None or not left:
                    return type(error).__name__
                self.sent_again += 1
        raise AssertionError("the last time answers")


async def _read(response: aiohttp.ClientResponse, kind: Kind) -> str:
    read = b""
    chunks = 0
    async for chunk in response.content.iter_any():
        read += chunk
        chunks += 1
        if chunks >= kind.leaves_after_chunks:
            return str(response.status)
    if kind.stream and response.status == 200 and not read.endswith(_LAST_EVENT):
        return "200, cut"
    return str(response.status)
