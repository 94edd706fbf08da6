"""The compose file runs: every service as the file says, in the image's own environment, without an engine."""

import json
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest

from services.migrate import SERVICES
from tests.deploy.compose import Composition, composed, wait_for
from tests.visitors import Visitor

pytestmark = pytest.mark.timeout(600)
MODEL = "claude-sonnet-4-6"


@pytest.fixture(scope="module")
def composition(image: Path) -> Iterator[Composition]:
    with (
        tempfile.TemporaryDirectory(prefix="tollhouse-compose-") as folder,
        composed(Path(folder), image, "simulator", "operator") as made,
    ):
        made.ready("load-balancer", "simulator")
        yield made


@pytest.fixture(scope="module")
def said(composition: Composition) -> str:
    """What the demo says at the end."""
    return composition.run("demo")


@pytest.fixture(scope="module")
def client(composition: Composition, said: str) -> Iterator[anthropic.Anthropic]:
    found = re.search(r"x-api-key: (\S+)\"", said)
    assert found, said
    url = f"http://{composition.services['load-balancer'].address}:8080"
    with anthropic.Anthropic(base_url=url, api_key=found[1], max_retries=0) as made:
        yield made


def ask(client: anthropic.Anthropic, words: int = 20) -> str:
    """A streamed answer of the simulator."""
    with client.messages.stream(
        model=MODEL, max_tokens=1000, messages=[{"role": "user", "content": "Hello " * words}]
    ) as stream:
        return stream.get_final_text()


def test_a_call_through_the_load_balancer_is_answered(client: anthropic.Anthropic) -> None:
    assert ask(client)


def test_both_edges_get_calls(client: anthropic.Anthropic, composition: Composition) -> None:
    for _ in range(10):
        ask(client)
    logs = [composition.services[name].log for name in ("edge-1", "edge-2")]
    wait_for(
        lambda: all("request_ended" in log.read_text() for log in logs), lambda: "one of the edges got no call at all"
    )


def test_the_demo_may_be_made_twice(said: str, composition: Composition) -> None:
    again = composition.run("demo")
    assert re.findall(r"x-api-key: \S+", again)[-1] == re.findall(r"x-api-key: \S+", said)[-1]


def test_the_operator_of_the_demo_can_sign_in(said: str, composition: Composition) -> None:
    password = re.findall(r"operator@localhost, password (\S+)", said)[-1]
    visitor = Visitor(f"http://{composition.services['load-balancer'].address}:8090")
    visitor.sign_in("operator@localhost", password)
    assert visitor.is_signed_in


def test_the_doctor_sees_all_of_it_and_finds_no_fault(said: str, composition: Composition) -> None:
    found = json.loads(composition.run("operator", "doctor", "--json"))
    assert [finding for finding in found if finding["verdict"] == "fault"] == []
    seen = {finding["about"] for finding in found}
    assert {"postgres", "grants", *(f"schema {service}" for service in SERVICES)} <= seen
    assert {"nats", "stream TOLLHOUSE_USAGE", "edge", "auth", "router", "ledger", "booking", "prices"} <= seen
    for name, port in (("edge-1", 8081), ("edge-2", 8081), ("console", 8091)):
        assert f"http://{composition.services[name].address}:{port}/readyz" in seen


def test_an_edge_that_is_stopped_ends_its_streams_and_nobody_notices(
    client: anthropic.Anthropic, composition: Composition
) -> None:
    answers: list[str] = []
    failures: list[BaseException] = []

    def keep_asking() -> None:
        try:
            for _ in range(10):
                answers.append(ask(client, words=200))  # noqa: PERF401  # counted while they come
        except BaseException as error:
            failures.append(error)

    asking = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in asking:
        thread.start()
    wait_for(lambda: len(answers) > 4 or bool(failures), lambda: "nobody was answered")
    edge = composition.services["edge-1"]
    assert edge.process is not None
    edge.process.send_signal(signal.SIGTERM)
    for thread in asking:
        thread.join()
    assert not failures, failures
    assert len(answers) == 40
    assert edge.process.wait(60) == 0
