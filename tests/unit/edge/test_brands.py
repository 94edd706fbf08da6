"""Unit tests of services.edge.brands, beside an auth that lists what it is told to."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import grpc
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.edge.brand import BUILT_IN, Brand, from_message
from services.edge.brands import Brands
from services.shared import bus, principal
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2

CC = auth_pb2.Brand(
    name="cc",
    hosts=["cc.example", "www.cc.example"],
    key_prefix="cc_user_",
    error_types={"key_unknown": "authentication_error"},
    request_id_header="X-CC-Request-Id",
    top_ups=[auth_pb2.TOP_UP_VOUCHER, auth_pb2.TOP_UP_CARD],
)


@dataclass
class Auth:
    """The port of auth's ListBrands; raises what it is given."""

    brands: list[auth_pb2.Brand] = field(default_factory=lambda: [CC])
    error: Exception | None = None
    asked: int = 0

    async def ListBrands(  # noqa: N802
        self, request: auth_pb2.ListBrandsRequest, *, timeout: float
    ) -> auth_pb2.ListBrandsResponse:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return auth_pb2.ListBrandsResponse(brands=self.brands)


@dataclass
class Nats:
    """The port of NATS: who listens for what."""

    listeners: dict[str, Callable[[Msg], Awaitable[None]]] = field(default_factory=dict)

    async def subscribe(self, subject: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        self.listeners[subject] = cb


def failed(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


def brands_of(*told: Brand) -> Brands:
    brands = Brands(lambda: Auth())
    brands.take(told)
    return brands


@pytest.mark.parametrize("host", [b"cc.example", b"cc.example:8443", b"CC.Example", b"CC.example:80", b"cc.example:"])
def test_a_host_is_known_whatever_its_port_and_case(host: bytes) -> None:
    assert brands_of(from_message(CC)).of_host(host).name == "cc"


@pytest.mark.parametrize("host", [b"", b"example", b"a.cc.example", b"127.0.0.1:8080", b"[::1]:8080", b"::1", b"\xff"])
def test_other_hosts_are_the_default_brands(host: bytes) -> None:
    assert brands_of(from_message(CC)).of_host(host) is BUILT_IN
    default = Brand(name="house", is_default=True)
    assert brands_of(from_message(CC), default).of_host(host) is default


def test_the_built_in_brand_is_what_a_brand_that_says_nothing_is_but_for_its_name() -> None:
    said = from_message(auth_pb2.Brand(name="tollhouse", google_keys_on_models=True, is_default=True))
    assert said == BUILT_IN


def test_a_brand_is_what_auth_says() -> None:
    brand = from_message(CC)
    assert brand.hosts == ("cc.example", "www.cc.example")
    assert brand.base_paths == ("/v1",)
    assert brand.error_types == {"key_unknown": "authentication_error"}
    assert (brand.unknown_model_status, brand.default_max_tokens) == (404, 0)
    assert brand.top_ups == ("voucher", "card")


def test_a_way_to_pay_of_a_newer_version_is_left_out() -> None:
    newer = auth_pb2.Brand(name="x")
    newer.top_ups.extend([cast(auth_pb2.TopUp.ValueType, 99), auth_pb2.TOP_UP_CRYPTO])
    assert from_message(newer).top_ups == ("crypto",)


def test_the_prefixes_of_all_brands_are_known_longest_first() -> None:
    brands = brands_of(from_message(CC), Brand(name="haze", key_prefix="sk-rr-"))
    assert brands.prefixes == ("cc_user_", "sk-rr-", "sk-th-", "sk-")
    assert brands_of().prefixes == principal.KNOWN_PREFIXES


async def keeping(auth: Auth, unless: Exception | None = None) -> tuple[Brands, Nats, asyncio.Task[None]]:
    def stub() -> Auth:
        if unless is not None:
            raise unless
        return auth

    brands, nats = Brands(stub), Nats()
    await brands.listen(cast(Client, nats))
    task = asyncio.create_task(brands.keep())
    for _ in range(5):
        await asyncio.sleep(0)
    return brands, nats, task


async def test_brands_are_asked_for_at_once_and_again_when_one_changed() -> None:
    auth = Auth()
    brands, nats, task = await keeping(auth)
    assert brands.known.is_set()
    assert brands.of_host(b"cc.example").name == "cc"
    auth.brands = []
    await nats.listeners[bus.BRAND_CHANGED](Msg(_client=cast(Client, None), data=b"cc"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert brands.of_host(b"cc.example") is BUILT_IN
    assert auth.asked == 2
    task.cancel()


async def test_brands_stay_as_they_were_while_auth_does_not_answer() -> None:
    auth = Auth()
    brands, nats, task = await keeping(auth)
    auth.error = failed(grpc.StatusCode.UNAVAILABLE)
    await nats.listeners[bus.BRAND_CHANGED](Msg(_client=cast(Client, None), data=b"cc"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert brands.of_host(b"cc.example").name == "cc"
    task.cancel()


async def test_brands_are_not_known_before_auth_has_told_them() -> None:
    unavailable = Refusal(Kind.AUTH_UNAVAILABLE, "none is known")
    for auth, unless in ((Auth(error=failed(grpc.StatusCode.UNAVAILABLE)), None), (Auth(), unavailable)):
        brands, _, task = await keeping(auth, unless)
        assert not brands.known.is_set()
        assert brands.of_host(b"cc.example") is BUILT_IN
        task.cancel()


async def test_an_auth_of_the_version_before_has_no_brands() -> None:
    brands, _, task = await keeping(Auth(error=failed(grpc.StatusCode.UNIMPLEMENTED)))
    assert brands.known.is_set()
    assert brands.default is BUILT_IN
    task.cancel()
