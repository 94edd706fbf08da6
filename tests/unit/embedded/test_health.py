"""Unit tests of services.embedded.health."""

import asyncio

import pytest

from services.embedded.health import healthy, with_credentials
from services.embedded.ports import free


@pytest.mark.parametrize("scheme", ["postgresql", "nats", "grpc", "http"])
async def test_where_nobody_listens_nothing_is_healthy(scheme: str) -> None:
    assert not await healthy(f"{scheme}://127.0.0.1:{free(1)[0]}")


@pytest.mark.parametrize(("status", "expected"), [(b"200 OK", True), (b"503 Service Unavailable", False), (b"", False)])
async def test_over_http_only_200_is_healthy(status: bytes, expected: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()) == b"GET /readyz HTTP/1.1\r\n"
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await healthy(f"http://127.0.0.1:{port}/readyz") is expected


def test_credentials_are_put_into_a_url_and_quoted() -> None:
    assert with_credentials("nats://h:1", "u", "p") == "nats://u:p@h:1"
    with_parameters = with_credentials("postgresql://owner:x@h:1/db?sslmode=require", "role", "p@/:")
    assert with_parameters == "postgresql://role:p%40%2F%3A@h:1/db?sslmode=require"
