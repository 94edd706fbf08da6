"""`tollhouse doctor` against a deployment that is well, and against one whose parts are broken one by one."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import psycopg
import pytest

from services.shared import bus
from tests.books import superuser_url
from tests.deployment import COMMAND, Deployment, deployed, eventually
from tollhouse.v1 import router_pb2


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("doctor") / "state") as deployment:
        yield deployment


def examined(deployment: Deployment, **settings: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and what was found by what it is about."""
    done = subprocess.run(
        [COMMAND, "doctor", "--json", "--state-dir", str(deployment.state_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | settings,
    )
    assert done.stdout, done.stderr
    return done.returncode, {finding["about"]: finding for finding in json.loads(done.stdout)}


def faults(found: dict[str, dict[str, Any]]) -> set[str]:
    return {about for about, finding in found.items() if finding["verdict"] == "fault"}


def publish(deployment: Deployment, subject: str, payload: bytes) -> None:
    async def send() -> None:
        place = json.loads((deployment.state_dir / "run.json").read_text())["addresses"]["nats"]
        password = json.loads((deployment.state_dir / "secrets.json").read_text())["nats"]
        nc = await nats.connect(place.replace("nats://", f"nats://tollhouse:{password}@"))
        await nc.jetstream().publish(subject, payload)
        await nc.close()

    asyncio.run(send())


def test_a_deployment_that_is_well_has_no_faults(patient: Deployment) -> None:
    code, found = examined(patient)
    assert (code, faults(found)) == (0, set())
    assert {"postgres", "clocks", "schema ledger", "nats", "stream TOLLHOUSE_USAGE", "edge-0", "booking"} <= set(found)
    assert {"edge", "auth", "router", "ledger", "prices", "journal edge-0"} <= set(found)


def test_people_read_what_to_do(patient: Deployment) -> None:
    said = patient.command("doctor")
    assert said.startswith("WHAT ")
    assert said.endswith("0 faults, 0 warnings")


def test_a_served_model_without_a_price_is_found(patient: Deployment) -> None:
    account = router_pb2.UpstreamAccount(
        name="unpriced",
        kind=router_pb2.UPSTREAM_KIND_ANTHROPIC,
        base_url=patient.simulator_url,
        models={"model-for-free": "model-for-free"},
        enabled=True,
    )
    patient.router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=account, credential="none"))
    try:
        eventually(lambda: "prices" in faults(examined(patient)[1]))
        code, found = examined(patient)
        assert code == 1
        assert found["prices"]["seen"].endswith("model-for-free")
    finally:
        patient.router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name="unpriced"))


def test_a_dead_letter_is_found(patient: Deployment) -> None:
    publish(patient, bus.USAGE_SUBJECT, b"no usage event")
    eventually(lambda: "dead letters" in faults(examined(patient)[1]))


def test_a_schema_that_was_not_migrated_is_found(patient: Deployment) -> None:
    with psycopg.connect(superuser_url(patient), autocommit=True) as connection:
        row = connection.execute("SELECT version_num FROM auth.alembic_version").fetchone()
        assert row is not None
        connection.execute("UPDATE auth.alembic_version SET version_num = '0001'")
        try:
            _, found = examined(patient)
        finally:
            connection.execute("UPDATE auth.alembic_version SET version_num = %s", row)
    assert found["schema auth"]["verdict"] == "fault"
    assert "tollhouse migrate" in found["schema auth"]["remedy"]


def test_an_edge_that_hangs_is_found(patient: Deployment) -> None:
    (edge,) = patient.pids("edge")
    os.kill(edge, signal.SIGSTOP)
    try:
        _, found = examined(patient)
    finally:
        os.kill(edge, signal.SIGCONT)
    assert "edge-0" in faults(found)


def test_faults_of_settings_are_found_where_a_service_is_set_up(patient: Deployment) -> None:
    _, found = examined(patient, TOLLHOUSE_AUTH_NATS_URL="nats://nowhere", TOLLHOUSE_AUTH_PRT="7001")
    seen = found["settings of auth"]["seen"]
    assert "TOLLHOUSE_AUTH_DATABASE_URL is not set" in seen
    assert "TOLLHOUSE_AUTH_PRT is not a setting of auth" in seen


def test_without_a_deployment_it_says_where_to_look_for_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "doctor", "--state-dir", str(tmp_path / "none")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "TOLLHOUSE_DOCTOR_DATABASE_URL" in done.stderr
