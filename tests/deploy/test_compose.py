"""docker-compose.yml fits the services, and its parts fit each other."""

import ipaddress
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.compose import configuration
from tests.deploy.settings import CLASSES, faults, value
from tests.deployment import ROOT

Service = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return configuration("simulator", "operator")


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


def program(service: Service) -> str:
    """What of ours it runs; "cli" for commands."""
    command = service.get("command") or [""]
    return command[0] if command[0] in CLASSES else "cli"


def ours(services: dict[str, Service]) -> dict[str, Service]:
    return {name: service for name, service in services.items() if service["image"].startswith("tollhouse:")}


def test_every_variable_is_a_setting_and_none_is_missing(services: dict[str, Service]) -> None:
    assert {program(service) for service in ours(services).values()} >= {*CLASSES}
    for name, service in ours(services).items():
        found = faults(program(service), service.get("environment") or {})
        assert not found, f"{name}: {found}"


def test_every_file_that_a_variable_names_is_a_secret_of_the_service_and_no_other(services: dict[str, Service]) -> None:
    for name, service in ours(services).items():
        named = {text for text in (service.get("environment") or {}).values() if text.startswith("/run/secrets/")}
        assert named == {secret["target"] for secret in service.get("secrets", ())}, name


def test_every_secret_is_made_by_the_script_and_used(compose: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = ["sh", str(ROOT / "deploy/secrets.sh"), str(folder), "postgres:5432", "nats:4222"]
    subprocess.run(command, check=True)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {Path(secret["file"]).name for secret in compose["secrets"].values()} <= first.keys()
    used = {secret["source"] for service in compose["services"].values() for secret in service.get("secrets", ())}
    assert used == compose["secrets"].keys()
    subprocess.run(command, check=True)  # again: nothing that runs with it may be locked out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert folder.stat().st_mode & 0o777 == 0o700


def test_no_secret_stands_in_the_file_itself(services: dict[str, Service]) -> None:
    for name, service in services.items():
        for variable, text in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|TOKEN|PEPPER|KEY|URL", variable) and not variable.endswith("_FILE"):
                assert re.fullmatch("http://[^@]+", text), f"{name}: {variable}"


def test_the_doctor_is_told_of_every_store_and_of_whoever_says_that_they_are_ready(
    services: dict[str, Service],
) -> None:
    said = services["operator"]["environment"]
    assert {"TOLLHOUSE_DOCTOR_DATABASE_URL_FILE", "TOLLHOUSE_DOCTOR_NATS_URL_FILE"} <= said.keys()
    expected = {
        f"http://{name}:{value(program(service), 'ops_port', service['environment'])}/readyz"
        for name, service in ours(services).items()
        if program(service) in ("edge", "console")
    }
    assert set(said["TOLLHOUSE_DOCTOR_READY_URLS"].split(",")) == expected


def test_every_service_that_stays_has_a_health_check_of_a_port_it_listens_to(services: dict[str, Service]) -> None:
    for name, service in ours(services).items():
        kind = program(service)
        if kind in ("migrate", "cli"):
            continue
        (asked,) = re.findall(r"127\.0\.0\.1:(\d+)", " ".join(service["healthcheck"]["test"]))
        port = "port" if kind == "simulator" else "ops_port"
        assert value(kind, port, service["environment"]) == asked, name
    assert {name for name, service in services.items() if "healthcheck" not in service} == {
        "migrate",
        "demo",
        "operator",
    }


def test_services_get_longer_to_end_than_they_need(services: dict[str, Service]) -> None:
    for name, service in ours(services).items():
        kind = program(service)
        if kind in ("migrate", "cli", "simulator"):
            continue
        needs_s = float(value(kind, "drain_s", service["environment"])) + 5
        if kind == "edge":
            needs_s += float(value(kind, "drain_notice_s", service["environment"])) + 10  # and what it flushes
        grace_s = seconds(service.get("stop_grace_period", "10s"))
        assert grace_s > needs_s, name


def seconds(text: str) -> float:
    """A duration as compose writes it, such as 11m0s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


def test_nobody_is_root_or_may_become_it(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        if name != "postgres":  # its entry point gives its rights up by itself
            assert service["cap_drop"] == ["ALL"], name
            assert service["read_only"] is True, name


def test_callers_share_a_network_with_whom_they_call(services: dict[str, Service]) -> None:
    for name, service in ours(services).items():
        for variable, text in (service.get("environment") or {}).items():
            if variable.endswith("_ADDRESS"):
                other = text.partition(":")[0]
                assert service["networks"].keys() & services[other]["networks"].keys(), f"{name}: {variable}"


def test_only_the_load_balancer_is_reached_from_outside_and_by_default_from_this_machine(
    services: dict[str, Service],
) -> None:
    assert {name for name, service in services.items() if service.get("ports")} == {"load-balancer"}
    for port in services["load-balancer"]["ports"]:
        assert ipaddress.ip_address(port["host_ip"]).is_loopback


def test_the_proxy_that_is_believed_is_the_load_balancer(compose: dict[str, Any]) -> None:
    address = compose["services"]["load-balancer"]["networks"]["front"]["ipv4_address"]
    (pool,) = compose["networks"]["front"]["ipam"]["config"]
    assert ipaddress.ip_address(address) in ipaddress.ip_network(pool["subnet"])
    trusted = {
        text
        for service in compose["services"].values()
        for name, text in (service.get("environment") or {}).items()
        if name.endswith("_TRUSTED_PROXIES")
    }
    assert trusted == {address}


def test_an_edge_has_a_journal_and_a_name_of_its_own(services: dict[str, Service]) -> None:
    edges = [service for name, service in services.items() if name.startswith("edge-")]
    assert len(edges) == 2
    assert len({edge["environment"]["TOLLHOUSE_EDGE_EDGE_ID"] for edge in edges}) == 2
    assert len({edge["volumes"][0]["source"] for edge in edges}) == 2
    for edge in edges:
        assert edge["environment"]["TOLLHOUSE_EDGE_JOURNAL_DIR"].startswith(edge["volumes"][0]["target"])


def test_the_load_balancer_knows_every_edge_and_waits_longer_than_edges_do(services: dict[str, Service]) -> None:
    text = (ROOT / "deploy/compose/haproxy.cfg").read_text()
    edges = {name for name in services if name.startswith("edge-")}
    assert set(re.findall(r"^\s*server (edge-\d+) ", text, re.MULTILINE)) == edges
    answer_s = float(value("edge", "answer_timeout_s", {}))
    for side in ("client", "server"):
        (silence_s,) = re.findall(rf"^\s*timeout {side} (\d+)s$", text, re.MULTILINE)
        assert float(silence_s) > answer_s
