"""Unit tests of services.shared.tls and channels, over real servers, channels and files."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.embedded.authority import files
from services.embedded.ports import free
from services.shared import rpc
from services.shared.batching import Decisions, answer_stream
from services.shared.channels import RotatingChannel
from services.shared.errors import Kind
from services.shared.permissions import Peer
from services.shared.settings import SettingsError
from services.shared.tls import Tls, TlsError, TlsSettings
from tests.certificates import issued, reissue, replace_authority, tls_of
from tollhouse.v1 import auth_pb2, auth_pb2_grpc

NAME = "tollhouse.v1.AuthService"
LOOKED_S = 1.1
"""After so long files are looked at again."""


class Desk(auth_pb2_grpc.AuthServiceServicer):
    """Resolves every key to the tenant `acme`; the other calls are missing on purpose."""

    async def DecideStream(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        await answer_stream(request_iterator, context, lambda request: (self._decide(request), []))

    async def Decide(  # noqa: N802
        self, request: auth_pb2.AuthDecideRequest, context: Any
    ) -> auth_pb2.AuthDecideResponse:
        return self._decide(request)

    async def GetTenant(  # noqa: N802
        self, request: auth_pb2.GetTenantRequest, context: Any
    ) -> auth_pb2.GetTenantResponse:
        return auth_pb2.GetTenantResponse()

    def _decide(self, request: auth_pb2.AuthDecideRequest) -> auth_pb2.AuthDecideResponse:
        results = [auth_pb2.ResolveResult(id=item.id) for item in request.resolve]
        return auth_pb2.AuthDecideResponse(sequence=request.sequence, resolve=results)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    issued(tmp_path / "tls")
    return tmp_path / "tls"


@contextlib.asynccontextmanager
async def served(folder: Path, address: str = "") -> AsyncIterator[str]:
    """auth, under its certificate of this folder."""
    address = address or f"127.0.0.1:{free(1)[0]}"
    server = rpc.Server(address, [NAME], tls=tls_of(folder, Peer.AUTH))
    auth_pb2_grpc.add_AuthServiceServicer_to_server(Desk(), server.grpc)  # type: ignore[abstract]
    await server.start()
    try:
        yield address
    finally:
        await server.stop(0)


async def code_of(channel: grpc.aio.Channel, method: str = "GetTenant") -> grpc.StatusCode:
    """How a call ends."""
    stub: Any = auth_pb2_grpc.AuthServiceStub(channel)
    requests = {"GetTenant": auth_pb2.GetTenantRequest, "Decide": auth_pb2.AuthDecideRequest}
    call = getattr(stub, method)(requests[method](), timeout=5)
    return await call.code()  # type: ignore[no-any-return]


# ---- who is let in ----


async def test_whom_the_table_names_is_answered_and_others_are_refused_by_name(folder: Path) -> None:
    async with (
        served(folder) as address,
        rpc.channel(address, tls=tls_of(folder, Peer.EDGE), to=Peer.AUTH) as edge,
        rpc.channel(address, tls=tls_of(folder, Peer.CONSOLE), to=Peer.AUTH) as console,
    ):
        assert await code_of(console) is grpc.StatusCode.OK
        assert await code_of(edge, "Decide") is grpc.StatusCode.OK
        with pytest.raises(grpc.aio.AioRpcError, match="spiffe://tollhouse/edge may not call") as caught:
            await auth_pb2_grpc.AuthServiceStub(edge).GetTenant(auth_pb2.GetTenantRequest(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        # Of the caller's own name, which is nothing that a client of ours could mend.
        assert rpc.refusal_of(caught.value, Kind.AUTH_UNAVAILABLE).kind is Kind.AUTH_UNAVAILABLE


async def test_a_stream_of_decisions_is_refused_too(folder: Path) -> None:
    async with (
        served(folder) as address,
        rpc.channel(address, tls=tls_of(folder, Peer.OPERATOR), to=Peer.AUTH) as channel,
    ):
        call = auth_pb2_grpc.AuthServiceStub(channel).DecideStream()
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "spiffe://tollhouse/operator may not call /tollhouse.v1.AuthService/DecideStream" in await call.details()


async def test_health_is_open_to_every_certificate_of_the_authority(folder: Path) -> None:
    async with (
        served(folder) as address,
        rpc.channel(address, tls=tls_of(folder, Peer.LEDGER), to=Peer.AUTH) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=NAME), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_without_a_certificate_nobody_gets_through_the_handshake(folder: Path) -> None:
    authority = (folder / "authority.pem").read_bytes()
    options = [("grpc.ssl_target_name_override", Peer.AUTH.host)]
    async with (
        served(folder) as address,
        rpc.channel(address) as plain,
        grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority), options=options) as nameless,
    ):
        assert await code_of(plain) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(nameless) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_a_strangers_authority_is_none(folder: Path, tmp_path: Path) -> None:
    issued(tmp_path / "stranger")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name, of in (("console.pem", "stranger"), ("console.key", "stranger"), ("authority.pem", "tls")):
        (mixed / name).write_bytes((tmp_path / of / name).read_bytes())
    async with (
        served(folder) as address,
        rpc.channel(address, tls=tls_of(mixed, Peer.CONSOLE), to=Peer.AUTH) as channel,
        rpc.channel(address, tls=tls_of(folder, Peer.CONSOLE), to=Peer.AUTH) as known,
    ):
        assert await code_of(channel) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(known) is grpc.StatusCode.OK


async def test_a_server_is_taken_for_nobody_else(folder: Path) -> None:
    async with (
        served(folder) as address,
        rpc.channel(address, tls=tls_of(folder, Peer.CONSOLE), to=Peer.LEDGER) as channel,
    ):
        assert await code_of(channel) is grpc.StatusCode.UNAVAILABLE


async def test_a_command_shows_its_certificate_on_a_blocking_channel(folder: Path) -> None:
    async with served(folder) as address:

        def ask() -> auth_pb2.GetTenantResponse:
            with rpc.blocking_channel(address, tls=tls_of(folder, Peer.OPERATOR), to=Peer.AUTH) as channel:
                return auth_pb2_grpc.AuthServiceStub(channel).GetTenant(auth_pb2.GetTenantRequest(), timeout=5)

        assert await asyncio.to_thread(ask) == auth_pb2.GetTenantResponse()


# ---- rotation ----


async def test_server_and_channel_go_on_under_another_authority(folder: Path) -> None:
    address = f"127.0.0.1:{free(1)[0]}"
    async with rpc.channel(address, tls=tls_of(folder, Peer.CONSOLE), to=Peer.AUTH) as channel:
        async with served(folder, address):
            assert await code_of(channel) is grpc.StatusCode.OK
            replace_authority(folder)
            await asyncio.sleep(LOOKED_S)
            async with rpc.channel(address, tls=tls_of(folder, Peer.CONSOLE), to=Peer.AUTH) as latecomer:
                assert await code_of(latecomer) is grpc.StatusCode.OK
        async with served(folder, address):
            assert await code_of(channel) is grpc.StatusCode.OK


async def test_decisions_go_on_while_the_channel_of_their_stream_is_replaced(folder: Path) -> None:
    tls = tls_of(folder, Peer.EDGE)
    options = [("grpc.ssl_target_name_override", Peer.AUTH.host)]
    opened: list[str] = []
    async with served(folder) as address:

        def connect(credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
            opened.append(address)
            return grpc.aio.secure_channel(address, credentials, options=options)

        channel = RotatingChannel(tls, connect, old_calls_s=0.3)
        stub: Any = auth_pb2_grpc.AuthServiceStub(channel)
        fields = ("settle", "admit", "resolve")
        streams: list[int] = []
        decisions = Decisions(
            stub.DecideStream,
            stub.Decide,
            auth_pb2.AuthDecideRequest,
            fields,
            Kind.AUTH_UNAVAILABLE,
            3,
            opened=lambda: streams.append(len(opened)),
        )
        decisions.start()
        asked = 0
        loop = asyncio.get_running_loop()
        began_s, rotated = loop.time(), False
        while not streams:
            await decisions.ask("resolve", auth_pb2.ResolveItem(key_hash=b"k"))
            asked += 1
            if not rotated and loop.time() - began_s > LOOKED_S:
                replace_authority(folder)
                await asyncio.sleep(LOOKED_S)
                await stub.Decide(auth_pb2.AuthDecideRequest(), timeout=5)  # which looks at the files
                rotated = True
            await asyncio.sleep(0.002)
        assert opened == [address, address]
        assert streams == [2]  # the stream was cut, and opened again on the new channel
        assert asked > 100
        await decisions.close(flush_s=0)
        await channel.close()


async def test_files_that_do_not_fit_each_other_are_left_until_they_do(folder: Path) -> None:
    tls = tls_of(folder, Peer.EDGE)
    before = tls.material()
    old_key = (folder / "edge.key").read_bytes()
    reissue(folder)
    new_key = (folder / "edge.key").read_bytes()
    (folder / "edge.key").write_bytes(old_key)
    await asyncio.sleep(LOOKED_S)
    assert tls.material() is before
    assert tls.context() is tls.context()
    (folder / "edge.key").write_bytes(new_key)
    await asyncio.sleep(LOOKED_S)
    assert tls.material().key == new_key
    (folder / "edge.key").unlink()
    await asyncio.sleep(LOOKED_S)
    assert tls.material().key == new_key


# ---- files that cannot be used, said at the start ----


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("edge.pem", None, "No such file"),
        ("edge.pem", b"nothing", "edge.pem is not a certificate in PEM"),
        ("edge.key", b"nothing", "edge.key is not a private key in PEM without a passphrase"),
        ("authority.pem", b"nothing", "authority.pem holds no certificates in PEM"),
    ],
)
def test_what_cannot_be_used_is_said(folder: Path, name: str, content: bytes | None, fault: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(TlsError, match=fault):
        tls_of(folder, Peer.EDGE)


def test_a_key_of_another_certificate_is_said(folder: Path) -> None:
    (folder / "edge.key").write_bytes((folder / "auth.key").read_bytes())
    with pytest.raises(TlsError, match=r"edge.key is not the key of .*edge.pem"):
        tls_of(folder, Peer.EDGE)


def test_somebody_elses_certificate_is_said(folder: Path) -> None:
    with pytest.raises(TlsError, match="must name spiffe://tollhouse/edge, and names spiffe://tollhouse/auth"):
        tls_of(folder, Peer.AUTH, own=Peer.EDGE)


def test_settings_are_all_three_or_none(folder: Path) -> None:
    paths = {name: str(path) for name, path in files(folder, Peer.EDGE).items()}
    assert Tls.of(TlsSettings(), Peer.EDGE) is None
    assert Tls.of(TlsSettings(**paths), Peer.EDGE) is not None
    for name in paths:
        with pytest.raises(SettingsError, match="together or not at all"):
            TlsSettings(**paths | {name: ""})
