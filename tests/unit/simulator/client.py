"""What drives a simulator in tests."""

import asyncio
import json
from typing import Any, NamedTuple

import aiohttp

CREDENTIAL = "sim-test"


class Answer(NamedTuple):
    """An answer, as much of it as came."""

    status: int
    headers: Any
    body: bytes
    whole: bool = True

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[5:]) for line in self.body.splitlines() if line.startswith(b"data:")]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def error(self) -> dict[str, str]:
        return json.loads(self.body)["error"]  # type: ignore[no-any-return]


class Client:
    """Connections to one simulator."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.port = port

    async def post(self, script: str = "", headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        sent = {"x-api-key": CREDENTIAL} | ({"x-simulator": script} if script else {}) | (headers or {})
        async with self.session.post("/v1/messages", json=message(**fields), headers=sent) as response:
            body = b""
            try:
                async for piece in response.content.iter_any():
                    body += piece
            except aiohttp.ClientPayloadError:
                return Answer(response.status, response.headers, body, whole=False)
            return Answer(response.status, response.headers, body)

    async def behave(self, credential: str, script: str) -> int:
        """Has the credential behave so from now on; answers the status."""
        async with self.session.put(f"/__behaviour/{credential}", data=script) as response:
            return response.status

    async def get(self, path: str) -> Any:
        async with self.session.get(path) as response:
            assert response.status == 200
            return await response.json()

    async def served(self) -> dict[str, Any]:
        return await self.get("/__served")  # type: ignore[no-any-return]

    async def last(self) -> dict[str, Any]:
        """The latest request, as the simulator saw it."""
        return (await self.get("/__served/requests?last=1"))["requests"][0]  # type: ignore[no-any-return]

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(20):
            while (await self.served())["open"] != count:
                await asyncio.sleep(0.002)


def message(**fields: Any) -> dict[str, Any]:
    """A small valid request."""
    return {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello there"}]} | fields
