"""Steady load of every kind that clients make, each request under an idempotency key of its own."""

import asyncio
import itertools
import json
import random
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


@dataclass
class Load:
    """Clients that go on until they are told to stop."""

    base_url: str
    tenants: list[Tenant]
    rate: float
    """Requests a second."""
    made: int = 0
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
        kind = self._random.choices(KINDS, [kind.weight for kind in KINDS])[0]
        tenant = self.tenants[number % len(self.tenants)]
        self.made += 1
        self.by_kind[kind.name] += 1
        headers = {
            "x-api-key": tenant.key,
            "x-simulator": kind.script.format(tokens=1 + number % 40, number=number),
            "idempotency-key": f"chaos-{number}",
        }
        body = json.dumps(message(stream=kind.stream, max_tokens=200))
        try:
            async with asyncio.timeout(kind.leaves_after_s):
                async with session.post(f"{self.base_url}/v1/messages", data=body, headers=headers) as response:
                    chunks = 0
                    async for _ in response.content.iter_any():
                        chunks += 1
                        if chunks >= kind.leaves_after_chunks:
                            break
                    self.outcomes[str(response.status)] += 1
        except TimeoutError:
            self.outcomes["left"] += 1
        except aiohttp.ClientError as error:
            self.outcomes[type(error).__name__] += 1
