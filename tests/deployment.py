"""A running Tollhouse for tests: the real command, the real processes, seen from outside only."""

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

from tollhouse.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    billing_pb2,
    billing_pb2_grpc,
    ledger_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    tokens_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
)

ROOT = Path(__file__).resolve().parent.parent
COMMAND = str(Path(sys.executable).parent / "tollhouse")
MODEL = "claude-sonnet-4-6"
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP: to load the authorities that they would trust elsewhere takes longer than a request."""
SONNET_NANO = {"input": 3000, "output": 15000, "cache_read": 300, "cache_write_5m": 3750, "cache_write_1h": 6000}
"""What the demo price book asks for one token of each class."""

NOTICED = {"TOLLHOUSE_AUTH_DRAIN_S": "1", "TOLLHOUSE_ROUTER_DRAIN_S": "1", "TOLLHOUSE_EDGE_DRAIN_NOTICE_S": "0.5"}
"""Settings for tests that stop one process while others go on: how long it waits until they notice."""


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
):
    """Puts a service token on every call."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with(client_call_details), request)

    def _with(self, details: Any) -> Any:
        return details._replace(metadata=[*(details.metadata or ()), self._header])


def with_token(channel: grpc.Channel, token: str) -> grpc.Channel:
    """A channel every call on which brings a service token."""
    return grpc.intercept_channel(channel, _Bearer(token))


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Tenant:
    """A tenant of its own for one test."""

    tenant_id: str
    key: str
    key_id: str


class Deployment:
    """What `tollhouse up` started."""

    def __init__(self, state_dir: Path, ready: dict[str, Any]) -> None:
        self.state_dir = state_dir
        self.ready = ready
        self.base_url: str = ready["base_url"]
        self.key: str = ready["api_key"]
        self.console_url: str = ready["console_url"]
        self.operator = (ready["operator_email"], ready["operator_password"])
        """Address and password of the console's first operator."""
        self.simulator_url: str = ready["simulator_url"]
        self.run = json.loads((state_dir / "run.json").read_text())
        self.internal_token: str = json.loads((state_dir / "secrets.json").read_text())["ledger_token"]
        self.auth = auth_pb2_grpc.AuthServiceStub(self.channel("auth"))
        self.auths = [
            auth_pb2_grpc.AuthServiceStub(self.channel("auth", process["address"]))
            for process in self.run["processes"]
            if process["part"] == "auth"
        ]
        self.router = router_pb2_grpc.RouterServiceStub(self.channel("router"))
        ledger = with_token(self.channel("ledger"), self.internal_token)
        self.ledger = ledger_pb2_grpc.LedgerServiceStub(ledger)
        self.billing = billing_pb2_grpc.BillingServiceStub(ledger)
        self.tokens = tokens_pb2_grpc.TokenServiceStub(ledger)
        self.usage = self.usage_with(ready["usage_token"])
        self._tenants = 0

    def usage_with(self, token: str) -> usage_pb2_grpc.UsageServiceStub:
        """UsageService as the holder of a service token sees it."""
        return usage_pb2_grpc.UsageServiceStub(with_token(self.channel("ledger"), token))

    def channel(self, service: str, address: str = "", caller: str = "operator") -> grpc.Channel:
        """A channel to a service; where it speaks TLS, with the certificate of `caller`."""
        address = address or self.run["addresses"][service]
        if not self.run["tls"]:
            return grpc.insecure_channel(address)
        authority, key, certificate = (
            (self.state_dir / "tls" / name).read_bytes() for name in ("authority.pem", f"{caller}.key", f"{caller}.pem")
        )
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        named = (("grpc.ssl_target_name_override", f"{service}.tollhouse.internal"),)
        return grpc.secure_channel(address, credentials, options=named)

    def ledger_with(self, token: str) -> ledger_pb2_grpc.LedgerServiceStub:
        """LedgerService as the holder of a service token sees it."""
        return ledger_pb2_grpc.LedgerServiceStub(with_token(self.channel("ledger"), token))

    # ---- people and money ----

    def tenant(self, dollars: float = 10, **key: Any) -> Tenant:
        """A new tenant with a balance and a key; `key` is further fields of CreateKeyRequest."""
        self._tenants += 1
        tenant_id = f"t{self._tenants}-{os.getpid()}"
        self.auth.CreateTenant(auth_pb2.CreateTenantRequest(tenant_id=tenant_id))
        if dollars:
            self.top_up(tenant_id, dollars)
        made = self.auth.CreateKey(auth_pb2.CreateKeyRequest(tenant_id=tenant_id, name="test", **key))
        return Tenant(tenant_id, made.secret, made.key.key_id)

    def top_up(self, tenant_id: str, dollars: float) -> None:
        key = f"{tenant_id}-{time.monotonic_ns()}"
        amount = round(dollars * 1_000_000_000)
        self.billing.TopUp(
            billing_pb2.TopUpRequest(
                tenant_id=tenant_id, amount_nano=amount, idempotency_key=key, reason="test", actor="test"
            )
        )

    def balance_nano(self, tenant_id: str) -> int:
        return self.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant_id)).balance_nano

    def usages(self, tenant_id: str) -> list[usage_pb2.Usage]:
        """Every booked request of a tenant."""
        found: list[usage_pb2.Usage] = []
        token = ""
        while True:
            page = self.usage.ListUsage(
                usage_pb2.ListUsageRequest(tenant_id=tenant_id, page_size=1000, page_token=token)
            )
            found += page.usages
            token = page.next_page_token
            if not token:
                return found

    def account(
        self,
        name: str,
        base_url: str,
        models: dict[str, str],
        priority: int = 10,
        kind: router_pb2.UpstreamKind.ValueType = router_pb2.UPSTREAM_KIND_ANTHROPIC,
    ) -> None:
        """Stores an upstream account, and a price for its models."""
        account = router_pb2.UpstreamAccount(
            name=name,
            kind=kind,
            base_url=base_url,
            models=models,
            priority=priority,
            enabled=True,
        )
        request = router_pb2.PutUpstreamAccountRequest(account=account, credential=f"credential-of-{name}")
        self.router.PutUpstreamAccount(request)
        for model in models:
            self.billing.SetPrice(
                billing_pb2.SetPriceRequest(
                    price=billing_pb2.Price(model=model, input_pico=3_000_000, output_pico=15_000_000),
                    actor="test",
                )
            )

    # ---- HTTP ----

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        """One request by the plainest client there is."""
        return request(self.base_url, method, path, headers, body)

    def messages(self, key: str, simulator: str = "", timeout_s: float = 30, **fields: Any) -> Answer:
        """POST /v1/messages; `simulator` scripts the upstream."""
        headers = {"x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01"}
        if simulator:
            headers["x-simulator"] = simulator
        body = json.dumps(message(**fields)).encode()
        return request(self.base_url, "POST", "/v1/messages", headers, body, timeout_s)

    def usage_of(self, key: str, request_id: str) -> Answer:
        return self.call("GET", f"/v1/usage/{request_id}", {"x-api-key": key})

    # ---- the simulator's side ----

    def served(self) -> dict[str, Any]:
        """What the simulator counted."""
        return request(self.simulator_url, "GET", "/__served").json()  # type: ignore[no-any-return]

    def served_request(self, request_id: str) -> dict[str, Any]:
        """What the simulator saw of the request that it gave this `request-id`."""
        listed = request(self.simulator_url, "GET", "/__served/requests?last=1000").json()
        entries = listed["requests"] if isinstance(listed, dict) else listed
        return next(entry for entry in entries if entry["request_id"] == request_id)

    # ---- the operator ----

    def command(self, *arguments: str, fails: bool = False) -> str:
        """Runs `tollhouse` here; its standard output, or standard error when it is to fail."""
        command = [COMMAND, *arguments, "--state-dir", str(self.state_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == (1 if fails else 0), done.stderr
        return (done.stderr if fails else done.stdout).strip()

    # ---- processes ----

    def pids(self, service: str) -> list[int]:
        return list(json.loads((self.state_dir / "run.json").read_text())["pids"][service])

    def kill(self, service: str) -> None:
        for pid in self.pids(service):
            os.kill(pid, signal.SIGKILL)


def message(**fields: Any) -> dict[str, Any]:
    """A small valid Messages request."""
    return {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": "Say hello."}]} | fields


def request(
    url: str,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = 30,
) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def eventually(condition: Callable[[], bool], within_s: float = 20, what: str = "") -> None:
    """Waits until `condition` holds; fails when it does not within `within_s`. That is less than the 30 seconds after
    which services look for changes of routes and brands by themselves, so that those have been announced; keys, tenants
    and plans are looked up anew after 5."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what or condition}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def deployed(
    state_dir: Path, *options: str, command: Sequence[str] = (COMMAND,), **settings: str
) -> Iterator[Deployment]:
    """`tollhouse up --json` until the block ends; `settings` are further environment variables. The simulator answers
    at once unless it is scripted otherwise; visitors of the console say by X-Forwarded-For where they are; processes
    that stop wait for nobody to notice, as everybody stops (but see `NOTICED`)."""
    usual = {
        "TOLLHOUSE_SIMULATOR_FIRST_MS": "0",
        "TOLLHOUSE_SIMULATOR_GAP_MS": "0",
        "TOLLHOUSE_CONSOLE_TRUSTED_PROXIES": "127.0.0.1",
        **dict.fromkeys(NOTICED, "0"),
    }
    environment = os.environ | usual | settings
    line = [*command, "up", "--json", "--state-dir", str(state_dir), "--port", str(free_port())]
    line += ["--console-port", "0", *options]
    with (state_dir.parent / f"{state_dir.name}.err").open("wb") as errors:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=ROOT)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready, (state_dir.parent / f"{state_dir.name}.err").read_text()
        yield Deployment(state_dir, json.loads(ready))
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
