"""A request whose edge is lost is booked by what that edge last said; the real event, should it come, corrects that."""

import http.client
import os
import signal
import threading
from pathlib import Path

from tests.deployment import SONNET_NANO, Answer, deployed, eventually
from tollhouse.v1 import auth_pb2, events_pb2, ledger_pb2


def test_an_edge_that_is_lost_for_long_and_comes_back(tmp_path: Path) -> None:
    settings = {
        "TOLLHOUSE_AUTH_HOLD_TTL_S": "2",
        "TOLLHOUSE_AUTH_GRANT_RENEW_S": "0.5",
        "TOLLHOUSE_EDGE_HOLD_RENEW_S": "0.4",
    }
    with deployed(tmp_path / "state", **settings) as tollhouse:
        tenant = tollhouse.tenant(dollars=1)
        answers: list[Answer] = []
        script = "tokens=40;input_tokens=20;gap_ms=40"
        client = threading.Thread(
            target=lambda: answers.append(tollhouse.messages(tenant.key, script, 60, stream=True, max_tokens=40))
        )
        client.start()
        eventually(lambda: tollhouse.served()["open"] == 1)
        threading.Event().wait(1.0)  # so that it is renewed in mid-stream
        (edge,) = tollhouse.pids("edge")
        os.kill(edge, signal.SIGSTOP)
        try:
            eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 1, 30, "the orphan is booked")
            (orphan,) = tollhouse.usages(tenant.tenant_id)
            assert (orphan.status, orphan.estimated) == (events_pb2.USAGE_STATUS_ORPHANED, True)
            assert orphan.tokens.input == 20
            assert 0 < orphan.tokens.output < 40
            assert orphan.cost_nano == 20 * SONNET_NANO["input"] + orphan.tokens.output * SONNET_NANO["output"]
            credit = auth_pb2.GetCreditRequest(tenant_id=tenant.tenant_id)
            eventually(lambda: tollhouse.auth.GetCredit(credit).holds == 0)
        finally:
            os.kill(edge, signal.SIGCONT)
        client.join(60)
        assert answers[0].status == 200
        real_nano = 20 * SONNET_NANO["input"] + 40 * SONNET_NANO["output"]
        eventually(
            lambda: tollhouse.usages(tenant.tenant_id)[0].cost_nano == real_nano, what="the real event is booked"
        )
        (usage,) = tollhouse.usages(tenant.tenant_id)
        assert (usage.status, usage.estimated, usage.tokens.output) == (events_pb2.USAGE_STATUS_OK, False, 40)
        assert tollhouse.balance_nano(tenant.tenant_id) == 1_000_000_000 - real_nano
        checks = tollhouse.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest()).checks
        assert [check.name for check in checks if check.differences] == []


def test_an_edge_that_is_killed_leaves_no_usage_and_no_hold_behind(tmp_path: Path) -> None:
    with deployed(tmp_path / "state") as tollhouse:
        tenant = tollhouse.tenant(dollars=1)

        def ask(script: str) -> None:
            try:
                tollhouse.messages(tenant.key, script, stream=True)
            except (OSError, http.client.HTTPException):
                pass  # its edge is gone

        clients = [threading.Thread(target=ask, args=(f"tokens=50;gap_ms={gap}",)) for gap in (100, 150, 200)]
        for client in clients:
            client.start()
        eventually(lambda: tollhouse.served()["open"] == 3)
        tollhouse.kill("edge")
        for client in clients:
            client.join(30)
        eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 3, what="the journal is replayed")
        for usage in tollhouse.usages(tenant.tenant_id):
            assert (usage.status, usage.estimated) == (events_pb2.USAGE_STATUS_INTERRUPTED, True)
            assert usage.cost_nano > 0
        credit = auth_pb2.GetCreditRequest(tenant_id=tenant.tenant_id)
        eventually(lambda: tollhouse.auth.GetCredit(credit).holds == 0, what="long before they would expire")
