"""Unit tests of services.embedded.programs."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.embedded.process import Program
from services.embedded.programs import Plan, Ports, base_url, child_environment, service_programs
from services.embedded.state import Secrets

SECRETS = Secrets(
    postgres="pw-superuser",
    auth="pw-auth",
    router="pw-router",
    ledger="pw-ledger",
    console="pw-console",
    console_key="the-console-key",
    nats="pw-nats",
    key_pepper="the-pepper",
    ledger_token="thst_internal",
    simulator="sim-credential",
)
PLAN = Plan(
    host="0.0.0.0",
    ports=Ports(
        public=8080,
        auth=1,
        router=2,
        ledger=3,
        simulator=4,
        postgres=5,
        nats=6,
        console=9,
        console_ops=10,
        ops=(7, 8),
        service_ops={"auth": 11, "router": 12, "ledger": 13, "auth-1": 14, "router-1": 15},
    ),
    database_url="postgresql://tollhouse:pw-superuser@127.0.0.1:5/tollhouse",
    nats_url="nats://tollhouse:pw-nats@127.0.0.1:6",
    secrets=SECRETS,
    master_key="the-master-key",
    receipt_key="the-receipt-key",
    journals=Path("/state/journal"),
)
OPERATOR = {
    "PATH": "/bin",
    "HTTPS_PROXY": "http://proxy",
    "TOLLHOUSE_DATABASE_URL": "postgresql://owner:pw-owner@db/tollhouse",
    "TOLLHOUSE_AUTH_GRANT_IDLE_S": "7",
    "TOLLHOUSE_ROUTER_MASTER_KEY": "operator's",
    "TOLLHOUSE_ROUTER_MASTER_KEY_FILE": "/run/secrets/master",
    "TOLLHOUSE_EDGE_ATTEMPTS": "2",
}


@pytest.fixture
def programs() -> dict[str, Program]:
    return service_programs(PLAN, OPERATOR)


def holders(programs: dict[str, Program], secret: str) -> set[str]:
    return {
        name for name, program in programs.items() if any(secret in value for value in program.environment.values())
    }


def test_each_service_is_one_process_and_each_edge_too(programs: dict[str, Program]) -> None:
    assert list(programs) == ["auth", "router", "ledger", "simulator", "console", "edge-0", "edge-1"]
    assert programs["edge-1"].argv[-3:] == ("-m", "services", "edge")


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("the-master-key", {"router"}),
        ("the-pepper", {"auth", "edge-0", "edge-1"}),
        ("thst_internal", {"auth", "ledger", "console", "edge-0", "edge-1"}),
        ("the-receipt-key", {"ledger"}),
        ("pw-auth", {"auth"}),
        ("pw-router", {"router"}),
        ("pw-ledger", {"ledger"}),
        ("the-console-key", {"console"}),
        ("pw-console", {"console"}),
        ("pw-nats", {"auth", "router", "ledger", "edge-0", "edge-1"}),
        ("pw-superuser", set()),
        ("pw-owner", set()),
        ("sim-credential", set()),
        ("operator's", set()),
    ],
)
def test_a_secret_reaches_only_those_who_need_it(programs: dict[str, Program], secret: str, expected: set[str]) -> None:
    assert holders(programs, secret) == expected


def test_an_operators_setting_reaches_its_service_and_no_other(programs: dict[str, Program]) -> None:
    assert programs["auth"].environment["TOLLHOUSE_AUTH_GRANT_IDLE_S"] == "7"
    assert programs["edge-1"].environment["TOLLHOUSE_EDGE_ATTEMPTS"] == "2"
    for name, program in programs.items():
        own = f"TOLLHOUSE_{program.part.upper()}_"
        assert all(key.startswith(own) for key in program.environment if key.startswith("TOLLHOUSE_")), name
        assert program.environment["HTTPS_PROXY"] == "http://proxy"


def test_what_up_decides_is_not_contradicted_by_a_file_variable(programs: dict[str, Program]) -> None:
    assert "TOLLHOUSE_ROUTER_MASTER_KEY_FILE" not in programs["router"].environment
    assert programs["router"].environment["TOLLHOUSE_ROUTER_MASTER_KEY"] == "the-master-key"


def test_services_connect_as_their_own_role(programs: dict[str, Program]) -> None:
    url = programs["ledger"].environment["TOLLHOUSE_LEDGER_DATABASE_URL"]
    assert url == "postgresql://tollhouse_ledger:pw-ledger@127.0.0.1:5/tollhouse"
    assert "TOLLHOUSE_EDGE_DATABASE_URL" not in programs["edge-0"].environment


def test_only_edges_and_the_console_listen_on_the_public_host(programs: dict[str, Program]) -> None:
    for program in programs.values():
        expected = "0.0.0.0" if program.part in ("edge", "console") else "127.0.0.1"
        assert program.environment[f"TOLLHOUSE_{program.part.upper()}_HOST"] == expected


def test_edges_share_the_public_port_and_nothing_else(programs: dict[str, Program]) -> None:
    first, second = (programs[name].environment for name in ("edge-0", "edge-1"))
    differing = {name for name in first if first[name] != second[name]}
    assert differing == {f"TOLLHOUSE_EDGE_{name}" for name in ("OPS_PORT", "EDGE_ID", "JOURNAL_DIR")}


def test_an_edge_gets_its_drain_and_then_time_to_publish() -> None:
    assert service_programs(PLAN, {})["edge-0"].environment["TOLLHOUSE_EDGE_DRAIN_S"] == "30.0"
    assert service_programs(PLAN, {})["edge-0"].stop_within_s > 30
    longer = service_programs(PLAN, {"TOLLHOUSE_EDGE_DRAIN_S": "600"})["edge-0"]
    assert longer.environment["TOLLHOUSE_EDGE_DRAIN_S"] == "600"
    assert longer.stop_within_s > 600


def test_a_child_finds_this_very_package_first() -> None:
    path = child_environment("auth", {}, {"PYTHONPATH": "/elsewhere"})["PYTHONPATH"].split(":")
    assert len(path) == 2
    assert path[1] == "/elsewhere"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("gateway.example", "http://gateway.example:80"),
    ],
)
def test_the_base_url_is_one_that_a_client_here_can_call(host: str, expected: str) -> None:
    assert base_url(host, 80) == expected


def test_a_plan_shows_no_secret() -> None:
    shown = repr(PLAN)
    assert not any(secret in shown for secret in ("pw-", "the-pepper", "the-master-key", "sim-credential"))


def test_with_tls_each_process_gets_its_own_certificate_and_no_other() -> None:
    programs = service_programs(replace(PLAN, tls=Path("/state/tls")), OPERATOR)
    for name, program in programs.items():
        own = {key.partition("_TLS_")[2]: value for key, value in program.environment.items() if "_TLS_" in key}
        expected = {
            "CERTIFICATE": f"/state/tls/{program.part}.pem",
            "KEY": f"/state/tls/{program.part}.key",
            "AUTHORITY": "/state/tls/authority.pem",
        }
        assert own == ({} if name == "simulator" else expected)


def test_without_tls_no_service_has_it_alone() -> None:
    programs = service_programs(PLAN, OPERATOR | {"TOLLHOUSE_AUTH_TLS_CERTIFICATE": "/mine/auth.pem"})
    assert programs["auth"].environment["TOLLHOUSE_AUTH_TLS_CERTIFICATE"] == ""


def test_everybody_knows_every_replica_of_the_ledger() -> None:
    further = {"ledger-1": 24, "auth-1": 25, "router-1": 26}
    watched = {**PLAN.ports.service_ops, **further}
    ports = replace(PLAN.ports, more_ledgers=(21,), more_auths=(22,), more_routers=(23,), service_ops=watched)
    made = service_programs(replace(PLAN, ports=ports), {})
    assert {"ledger", "ledger-1"} <= set(made)
    assert made["ledger-1"].environment["TOLLHOUSE_LEDGER_REPLICA"] == "ledger-1"
    for name, service in (("auth-1", "AUTH"), ("edge-0", "EDGE"), ("console", "CONSOLE")):
        assert made[name].environment[f"TOLLHOUSE_{service}_LEDGER_ADDRESS"] == "127.0.0.1:3,127.0.0.1:21"
    assert made["console"].environment["TOLLHOUSE_CONSOLE_ROUTER_ADDRESS"] == "127.0.0.1:2,127.0.0.1:23"


@pytest.mark.parametrize(("more_nats", "replicas"), [((), "1"), ((31, 32), "3"), ((31, 32, 33, 34), "3")])
def test_what_nats_keeps_it_keeps_on_three_servers_where_there_are_as_many(
    more_nats: tuple[int, ...], replicas: str
) -> None:
    made = service_programs(replace(PLAN, ports=replace(PLAN.ports, more_nats=more_nats)), {})
    assert made["ledger"].environment["TOLLHOUSE_LEDGER_STREAM_REPLICAS"] == replicas
    assert made["router"].environment["TOLLHOUSE_ROUTER_BUCKET_REPLICAS"] == replicas
