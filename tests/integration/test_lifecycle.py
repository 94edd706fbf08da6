"""Several edges, draining, and an edge that cannot record usage."""

import json
import os
import signal
import threading
from pathlib import Path

from tests.deployment import Deployment, Tenant, deployed, eventually, request


def booked(tollhouse: Deployment, tenant: Tenant) -> int:
    return len(tollhouse.usages(tenant.tenant_id))


def test_an_edge_that_cannot_record_usage_takes_no_work_until_it_can(tmp_path: Path) -> None:
    with deployed(tmp_path / "state", TOLLHOUSE_EDGE_OUTBOX_REQUESTS="5") as tollhouse:
        tenant = tollhouse.tenant()
        assert tollhouse.messages(tenant.key).status == 200
        eventually(lambda: booked(tollhouse, tenant) == 1)
        (nats,) = tollhouse.pids("nats")
        os.kill(nats, signal.SIGSTOP)
        try:
            answers = [tollhouse.messages(tenant.key) for _ in range(8)]
        finally:
            os.kill(nats, signal.SIGCONT)
        assert [answer.status for answer in answers] == [200] * 5 + [503] * 3
        assert b"usage cannot be recorded" in answers[-1].body
        eventually(lambda: tollhouse.messages(tenant.key).status == 200, what="work is taken again")
        eventually(lambda: booked(tollhouse, tenant) == tollhouse.served()["requests"], what="nothing was lost")


def test_edges_share_a_port_and_any_of_them_serves_any_client(tmp_path: Path) -> None:
    with deployed(tmp_path / "state", "--edges", "3") as tollhouse:
        assert len(tollhouse.pids("edge")) == 3
        tenant = tollhouse.tenant()
        answers = [tollhouse.messages(tenant.key) for _ in range(30)]
        assert {answer.status for answer in answers} == {200}
        eventually(lambda: booked(tollhouse, tenant) == 30)
        logs = [tollhouse.state_dir / "log" / f"edge-{number}.log" for number in range(3)]
        eventually(lambda: sum("request_ended" in log.read_text() for log in logs) >= 2, what="several edges served")
        killed = tollhouse.pids("edge")[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{killed}").exists(), what="its socket is closed too")
        for _ in range(20):
            assert tollhouse.messages(tenant.key).status == 200


def test_streams_under_way_run_to_their_end_when_everything_is_stopped(tmp_path: Path) -> None:
    answers = []
    with deployed(tmp_path / "state") as tollhouse:
        tenant = tollhouse.tenant()
        stream = threading.Thread(
            target=lambda: answers.append(tollhouse.messages(tenant.key, simulator="tokens=60;gap_ms=25", stream=True))
        )
        stream.start()
        eventually(lambda: tollhouse.served()["open"] == 1)
    stream.join(20)
    (answer,) = answers
    assert answer.body.count(b"event: content_block_delta") == 60
    assert answer.body.endswith(b'data: {"type":"message_stop"}\n\n')
    with deployed(tmp_path / "state") as again:
        (usage,) = again.usages(tenant.tenant_id)
        assert (usage.request_id, usage.tokens.output) == (answer.headers["x-request-id"], 60)


def test_readiness_is_told_on_the_operations_port_only(tollhouse: Deployment) -> None:
    run = json.loads((tollhouse.state_dir / "run.json").read_text())
    (edge,) = [process for process in run["processes"] if process["part"] == "edge"]
    ops = edge["health_url"].rpartition("/")[0]
    assert request(ops, "GET", "/healthz").status == 200
    assert request(ops, "GET", "/readyz").status == 200
    assert tollhouse.call("GET", "/readyz").status == 404
