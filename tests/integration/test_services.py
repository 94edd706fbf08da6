"""The services by themselves: health, reflection, errors across gRPC, who may read what, where secrets are."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.deployment import MODEL, Deployment, deployed, eventually, message
from tollhouse.v1 import auth_pb2, billing_pb2, router_pb2, types_pb2, usage_pb2

CANARY = "canary-7d1f0c"
SERVICES = {
    "auth": ["AuthService"],
    "router": ["RouterService"],
    "ledger": ["LedgerService", "UsageService", "BillingService", "TokenService"],
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose every file may be searched afterwards."""
    with deployed(tmp_path_factory.mktemp("own") / "state") as deployment:
        yield deployment


def addresses(deployment: Deployment) -> dict[str, str]:
    found: dict[str, str] = json.loads((deployment.state_dir / "run.json").read_text())["addresses"]
    return found


def database(deployment: Deployment, user: str) -> psycopg.Connection:
    secrets = json.loads((deployment.state_dir / "secrets.json").read_text())
    server = urlsplit(addresses(deployment)["postgres"])
    password = secrets["postgres" if user == "tollhouse" else user.removeprefix("tollhouse_")]
    return psycopg.connect(host=server.hostname, port=server.port, user=user, password=password, dbname="tollhouse")


@pytest.mark.parametrize("service", list(SERVICES))
def test_every_service_tells_its_health_and_its_interface(tollhouse: Deployment, service: str) -> None:
    with grpc.insecure_channel(addresses(tollhouse)[service]) as channel:
        names = [f"tollhouse.v1.{name}" for name in SERVICES[service]]
        for name in ["", *names]:
            answer = health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(service=name)
            )
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        listed = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert {*names, "grpc.health.v1.Health"} <= set(listed)


def test_an_error_crosses_grpc_with_its_kind_and_a_status_of_its_own(tollhouse: Deployment) -> None:
    cases = [
        (
            lambda: tollhouse.auth.CreateTenant(auth_pb2.CreateTenantRequest(tenant_id="No Such Form")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid_request",
        ),
        (
            lambda: tollhouse.auth.CreateKey(auth_pb2.CreateKeyRequest(tenant_id="nobody", name="x")),
            grpc.StatusCode.NOT_FOUND,
            "not_found",
        ),
        (
            lambda: tollhouse.usage.GetUsage(usage_pb2.GetUsageRequest(request_id="req_unknown")),
            grpc.StatusCode.NOT_FOUND,
            "usage_unknown",
        ),
        (
            lambda: tollhouse.billing.TopUp(billing_pb2.TopUpRequest(tenant_id="demo", amount_nano=-1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid_request",
        ),
        (
            lambda: tollhouse.router.PutUpstreamAccount(
                router_pb2.PutUpstreamAccountRequest(
                    account=router_pb2.UpstreamAccount(
                        name="x",
                        kind=router_pb2.UPSTREAM_KIND_ANTHROPIC,
                        models={"a": "b"},
                        base_url="file:///etc/passwd",
                    ),
                    credential="x",
                )
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid_request",
        ),
    ]
    for call, status, kind in cases:
        with pytest.raises(grpc.RpcError) as caught:
            call()  # type: ignore[no-untyped-call]
        error = caught.value
        assert error.code() == status
        trailers: dict[str, bytes] = dict(error.trailing_metadata())  # type: ignore[arg-type]
        assert types_pb2.ErrorDetail.FromString(trailers["tollhouse-error-bin"]).kind == kind


def test_a_top_up_credits_once_for_each_idempotency_key(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=0)
    request = billing_pb2.TopUpRequest(
        tenant_id=tenant.tenant_id, amount_nano=5, idempotency_key="once", reason="test", actor="test"
    )
    answers = [tollhouse.billing.TopUp(request) for _ in range(3)]
    assert [(answer.balance_nano, answer.repeated) for answer in answers] == [(5, False), (5, True), (5, True)]


def test_a_price_holds_from_its_setting_on_and_not_before(tollhouse: Deployment) -> None:
    tollhouse.account("repriced", tollhouse.simulator_url, {"model-repriced": MODEL})
    tenant = tollhouse.tenant()

    def cost() -> tuple[int, int]:
        answer = tollhouse.messages(tenant.key, model="model-repriced", simulator="tokens=10;input_tokens=0")
        usage = tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()
        return usage["price_version"], usage["cost_nano"]

    first_version, first_cost = cost()
    assert first_cost == 10 * 15_000
    price = billing_pb2.Price(model="model-repriced", input_pico=3_000_000, output_pico=30_000_000)
    version = tollhouse.billing.SetPrice(billing_pb2.SetPriceRequest(price=price, actor="test")).price.price_version
    assert version > first_version
    eventually(lambda: cost() == (version, 10 * 30_000), what="the new price is in force")


def test_entries_balance_and_balances_follow_from_entries(own: Deployment) -> None:
    tenant = own.tenant()
    for number in range(5):
        own.messages(tenant.key, stream=number % 2 == 0)
    eventually(lambda: len(own.usages(tenant.tenant_id)) == 5)
    with database(own, "tollhouse_ledger") as connection:
        wrong = connection.execute(
            "SELECT a.ledger_account_id, a.balance_nano, coalesce(c.sum, 0) - coalesce(d.sum, 0)"
            " FROM ledger_accounts a"
            " LEFT JOIN (SELECT credit_account_id id, sum(amount_nano) FROM entries GROUP BY 1) c"
            " ON c.id = ledger_account_id"
            " LEFT JOIN (SELECT debit_account_id id, sum(amount_nano) FROM entries GROUP BY 1) d"
            " ON d.id = ledger_account_id"
            " WHERE a.balance_nano <> coalesce(c.sum, 0) - coalesce(d.sum, 0)"
        ).fetchall()
        assert wrong == []
        total = connection.execute("SELECT sum(balance_nano) FROM ledger_accounts").fetchone()
        assert total == (0,)
        charged = connection.execute(
            "SELECT sum(e.amount_nano) - (SELECT sum(cost_nano) FROM usage_records)"
            " FROM entries e JOIN transactions t USING (transaction_id) WHERE t.kind = 'usage'"
        ).fetchone()
        assert charged == (0,)
        with pytest.raises(psycopg.errors.RaiseException, match="immutable"):
            connection.execute("UPDATE entries SET amount_nano = 1")


def test_usage_lands_in_the_partition_of_its_month(own: Deployment) -> None:
    own.usage_of(own.key, own.messages(own.key).headers["x-request-id"])
    with database(own, "tollhouse_ledger") as connection:
        rows = connection.execute(
            "SELECT tableoid::regclass::text, to_char(created_at AT TIME ZONE 'UTC', 'YYYY_MM') FROM usage_records"
        ).fetchall()
        assert rows
        assert all(partition == f"usage_records_{month}" for partition, month in rows)


def test_prompts_answers_and_secrets_are_written_nowhere(own: Deployment, tmp_path: Path) -> None:
    """The state folder holds every log, table, stream and journal: a canary in a prompt, in a key's place and in an
    upstream credential must not be found in it, but where it belongs."""
    tenant = own.tenant()
    prompt = [{"role": "user", "content": f"{CANARY}-prompt"}]
    scripts = ("", f"status=400;message={CANARY}-answer", f"status=500;message={CANARY}-answer", "cut_after=3")
    for number, script in enumerate(scripts * 2):
        model = f"m{number}"  # each with an account of its own, for one that failed is not asked for a while
        account = router_pb2.UpstreamAccount(
            name=f"canary-{number}",
            kind=router_pb2.UPSTREAM_KIND_ANTHROPIC,
            base_url=own.simulator_url,
            models={model: MODEL},
            enabled=True,
        )
        credential = f"{CANARY}-credential"
        own.router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=account, credential=credential))
        price = billing_pb2.Price(model=model, input_pico=1, output_pico=1)
        own.billing.SetPrice(billing_pb2.SetPriceRequest(price=price, actor="test"))
        stream = number >= len(scripts)
        own.messages(tenant.key, model=model, simulator=script, stream=stream, messages=prompt)
    own.call("POST", "/v1/messages", {"x-api-key": f"sk-th-{CANARY}"}, json.dumps(message()).encode())
    own.call("POST", "/v1/messages", {"x-api-key": tenant.key}, f'{{"model": "{CANARY}"'.encode())
    eventually(lambda: len(own.usages(tenant.tenant_id)) >= 8)
    secrets = [CANARY.encode(), tenant.key.removeprefix("sk-th-").encode(), b"tok0001"]
    searched = 0
    for path in own.state_dir.rglob("*"):
        if path.is_file() and path.name not in ("secrets.json", "demo.key"):
            data = path.read_bytes()
            searched += 1
            for secret in secrets:
                assert secret not in data, path
    assert searched > 100


def test_secret_files_are_their_owners_alone(own: Deployment) -> None:
    for name in ("master.key", "secrets.json", "demo.key", "receipt.key", "usage.token", "nats.conf"):
        assert stat.S_IMODE((own.state_dir / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(own.state_dir.stat().st_mode) == 0o700


def test_services_listen_on_loopback_only(own: Deployment) -> None:
    listening = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":
                host, port = local.split(":")
                listening.add((host, int(port, 16)))
    ours = {int(address.rpartition(":")[2].split("/")[0]) for address in addresses(own).values()}
    hosts = {host for host, port in listening if port in ours}
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, as the kernel writes it
    assert hosts
    assert hosts <= loopback
