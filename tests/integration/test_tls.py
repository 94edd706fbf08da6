"""`tollhouse up --tls`: who may call whom, certificates that rotate under load, and everything that still works."""

import concurrent.futures
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import grpc
import pytest

from services.shared.permissions import TABLE, Peer
from tests.certificates import reissue, replace_authority
from tests.deployment import COMMAND, MODEL, ROOT, Deployment, deployed, eventually, with_token
from tollhouse.v1 import types_pb2

SERVICE_OF = {
    "AuthService": "auth",
    "RouterService": "router",
    "LedgerService": "ledger",
    "BillingService": "ledger",
    "TokenService": "ledger",
    "UsageService": "ledger",
}
LOOKED_S = 1.2
"""After so long processes look at their files again."""

Call = Callable[[str, Peer], grpc.RpcError | None]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("secured") / "state", "--tls", "--auths", "2") as deployment:
        yield deployment


@pytest.fixture(scope="module")
def call(secured: Deployment) -> Call:
    """Calls a method with nothing in it, as somebody, with the token that the ledger lets do everything."""
    channels = {
        (service, peer): with_token(secured.channel(service, caller=peer), secured.internal_token)
        for service in ("auth", "router", "ledger")
        for peer in Peer
    }

    def called(method: str, peer: Peer) -> grpc.RpcError | None:
        service = SERVICE_OF[method.split("/")[1].rpartition(".")[2]]
        try:
            ask(channels[service, peer], method, timeout_s=1)
        except grpc.RpcError as error:
            return error
        return None

    return called


def ask(channel: grpc.Channel, method: str, timeout_s: float = 5) -> None:
    """Calls a method with a message that has nothing in it."""
    empty: Any = channel.unary_unary(method)
    empty(b"", timeout=timeout_s)


def kind_of(error: Any) -> str:
    """The catalogue's kind of a failed call; nothing when it has none."""
    for name, value in error.trailing_metadata() or ():
        if name == "tollhouse-error-bin":
            return types_pb2.ErrorDetail.FromString(value).kind
    return ""


# ---- who may call what ----


@pytest.mark.parametrize("method", TABLE)
def test_whoever_may_not_call_is_refused_by_name_and_whoever_may_is_not(call: Call, method: str) -> None:
    for peer in Peer:
        error: Any = call(method, peer)
        if peer in TABLE[method]:
            assert error is None or (error.code() is not grpc.StatusCode.UNAVAILABLE and not denied(error))
        else:
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            assert error.details() == f"spiffe://tollhouse/{peer} may not call {method}"
            assert denied(error)


def denied(error: Any) -> bool:
    return kind_of(error) == "caller_forbidden"


def test_the_ledger_looks_at_the_token_as_well(secured: Deployment) -> None:
    method = "/tollhouse.v1.TokenService/ListTokens"
    with pytest.raises(grpc.RpcError) as without:
        ask(secured.channel("ledger"), method)
    assert kind_of(without.value) == "token_missing"
    with pytest.raises(grpc.RpcError) as too_narrow:
        ask(with_token(secured.channel("ledger"), secured.ready["usage_token"]), method)
    assert kind_of(too_narrow.value) == "token_scope"


@pytest.mark.parametrize("service", ["auth", "router", "ledger", "nats"])
def test_without_a_certificate_nobody_gets_through_the_handshake(secured: Deployment, service: str) -> None:
    try:  # of TLS 1.3 a client knows at its first read only whether it was let in
        with handshake(secured, service, certificate="") as connection:
            said = connection.recv(1)
    except OSError:
        said = b""
    assert said == b""


@pytest.mark.parametrize("service", ["auth", "router", "ledger", "nats"])
def test_no_byte_of_a_server_is_in_the_clear(secured: Deployment, service: str) -> None:
    host, _, port = address_of(secured, service).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)


# ---- what works as before ----


def test_an_sdk_is_answered_and_its_usage_is_booked(secured: Deployment) -> None:
    client = anthropic.Anthropic(base_url=secured.base_url, api_key=secured.key)
    said: Any = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    answer = client.messages.with_raw_response.create(**said)
    assert answer.parse().usage.output_tokens > 0
    with client.messages.stream(**said) as stream:
        assert stream.get_final_text()
    assert secured.usage_of(secured.key, answer.headers["x-request-id"]).json()["status"] == "ok"
    client.close()


def test_commands_find_the_certificate_by_themselves(secured: Deployment) -> None:
    assert "demo" in secured.command("tenant", "list")
    assert MODEL in secured.command("price", "list")
    assert "simulator" in secured.command("account", "list")
    assert "operator@localhost" in secured.command("person", "list")


def test_a_command_with_addresses_of_its_own_takes_its_certificate_from_the_settings(
    secured: Deployment, tmp_path: Path
) -> None:
    tls = secured.state_dir / "tls"
    environment = os.environ | {
        "TOLLHOUSE_CLI_AUTH_ADDRESS": address_of(secured, "auth"),
        "TOLLHOUSE_CLI_TLS_CERTIFICATE": str(tls / "operator.pem"),
        "TOLLHOUSE_CLI_TLS_KEY": str(tls / "operator.key"),
        "TOLLHOUSE_CLI_TLS_AUTHORITY": str(tls / "authority.pem"),
    }
    command = [COMMAND, "tenant", "list", "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert "demo" in done.stdout, done.stderr


def test_the_example_reads_usage_with_a_certificate_of_the_house_and_not_without(secured: Deployment) -> None:
    folder = secured.state_dir / "tls"
    files = {"--ca": "authority.pem", "--certificate": "internal.pem", "--key": "internal.key"}
    own = [word for option, name in files.items() for word in (option, str(folder / name))]
    for options, code in ((own, 0), ([], 1), (own[:2], 2)):
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples/usage_client.py"), *options, "balance", "demo"],
            env=os.environ
            | {
                "TOLLHOUSE_USAGE_GRPC": secured.ready["usage_grpc"],
                "TOLLHOUSE_USAGE_TOKEN": secured.ready["usage_token"],
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert done.stdout.startswith("$") is (code == 0)


def test_every_process_is_healthy_and_its_files_are_private(secured: Deployment) -> None:
    rows = json.loads(secured.command("status", "--json"))
    assert [row["name"] for row in rows if row["health"] != "healthy"] == []
    assert {path.stat().st_mode & 0o777 for path in (secured.state_dir / "tls").iterdir()} == {0o600}


# ---- rotation; what follows changes the authority ----


def test_new_certificates_are_taken_up_under_load_and_no_request_fails(secured: Deployment) -> None:
    before = {service: shown(secured, service) for service in ("auth", "router", "ledger")}
    with under_load(secured) as statuses:
        time.sleep(0.5)
        reissue(secured.state_dir / "tls")
        time.sleep(LOOKED_S)
        after = {service: shown(secured, service) for service in before}
        assert not set(before.values()) & set(after.values())
        assert "demo" in secured.command("tenant", "list")
        time.sleep(1)
    assert len(statuses) > 50
    assert set(statuses) == {200}


def test_everybody_goes_on_under_another_authority(secured: Deployment) -> None:
    replace_authority(secured.state_dir / "tls")
    time.sleep(LOOKED_S)
    for part in ("nats", "auth", "router", "ledger"):  # whoever kept the old files could not connect again
        secured.kill(part)
    eventually(lambda: secured.messages(secured.key).status == 200, within_s=30, what="requests are answered")
    eventually(lambda: all(row["health"] == "healthy" for row in statuses_of(secured)), within_s=30)
    answer = secured.messages(secured.key)
    assert secured.usage_of(secured.key, answer.headers["x-request-id"]).json()["status"] == "ok"


def statuses_of(secured: Deployment) -> list[dict[str, Any]]:
    command = [COMMAND, "status", "--json", "--state-dir", str(secured.state_dir)]
    return list(json.loads(subprocess.run(command, capture_output=True, timeout=60).stdout))


class under_load:  # noqa: N801  # reads as what it is for
    """Four clients that ask without a break until the block ends; answers the statuses of what they got."""

    def __init__(self, secured: Deployment) -> None:
        self._secured = secured
        self._pool = concurrent.futures.ThreadPoolExecutor(4)
        self._statuses: list[int] = []
        self._over = False

    def __enter__(self) -> list[int]:
        self._clients = [self._pool.submit(self._ask) for _ in range(4)]
        return self._statuses

    def __exit__(self, *_: object) -> None:
        self._over = True
        for client in self._clients:
            client.result(60)
        self._pool.shutdown()

    def _ask(self) -> None:
        while not self._over:
            self._statuses.append(self._secured.messages(self._secured.key).status)


# ---- one connection ----


def address_of(secured: Deployment, service: str) -> str:
    return str(secured.run["addresses"][service]).removeprefix("nats://")


def handshake(secured: Deployment, service: str, certificate: str = "operator") -> ssl.SSLSocket:
    """A TLS connection to a service, with somebody's certificate or none."""
    tls = secured.state_dir / "tls"
    context = ssl.create_default_context(cafile=str(tls / "authority.pem"))
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(str(tls / f"{certificate}.pem"), str(tls / f"{certificate}.key"))
    host, _, port = address_of(secured, service).rpartition(":")
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=5), server_hostname=host)


def shown(secured: Deployment, service: str) -> bytes:
    """The certificate that a service shows now."""
    with handshake(secured, service) as connection:
        certificate = connection.getpeercert(binary_form=True)
        assert certificate
        return certificate


def test_replicas_of_everything_and_a_cluster_of_nats_speak_tls_too(tmp_path: Path) -> None:
    several = ("--ledgers", "2", "--routers", "2", "--edges", "2", "--nats-nodes", "3")
    with deployed(tmp_path / "state", "--tls", *several) as deployment:
        tenant = deployment.tenant()
        answer = deployment.messages(tenant.key)
        assert deployment.usage_of(tenant.key, answer.headers["x-request-id"]).status == 200
        found = json.loads(deployment.command("doctor", "--json"))
        assert {finding["verdict"] for finding in found} == {"ok"}, found
