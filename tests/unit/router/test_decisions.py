"""Unit tests of services.router.decisions."""

from services.router.decisions import Decisions, Kept
from services.router.picker import PROVING
from tests.unit.router.upstreams import FAMILY, MODEL, account
from tollhouse.v1 import router_pb2


def kept(lease_id: str, account_id: str = "acc_a", pool: str = "default") -> Kept:
    looked = [(account("acc_b"), PROVING, 2.0), (account("acc_a", 1), "spare", 0.5)]
    return Kept(lease_id, 1_000, pool, MODEL, FAMILY, account_id, "load", looked, 2)


def test_the_last_decisions_are_kept_and_no_more() -> None:
    decisions = Decisions(2, "router-1")
    for number in range(5):
        decisions.keep(kept(f"req_{number}:1"))
    assert len(decisions) == 2
    assert decisions.of("req_2") == []
    assert [told.lease_id for told in decisions.of("req_3")] == ["req_3:1"]
    decisions.ended("req_0:1", router_pb2.OUTCOME_OK)
    decisions.ended("req_4:1", router_pb2.OUTCOME_OK)
    assert decisions.of("req_4")[0].outcome == router_pb2.OUTCOME_OK


def test_candidates_are_told_in_the_order_they_were_looked_at() -> None:
    decisions = Decisions(2, "router-1")
    decisions.keep(kept("req_1:1"))
    (told,) = decisions.of("req_1")
    assert [(one.upstream_account_id, one.verdict, one.load, one.priority) for one in told.candidates] == [
        ("acc_b", "probing", 2.0, 0),
        ("acc_a", "picked", 0.5, 1),
    ]


def test_a_refusal_in_one_pool_and_the_account_of_the_next_are_both_told() -> None:
    decisions = Decisions(5, "router-1")
    decisions.keep(kept("req_1:1", ""))
    decisions.keep(kept("req_1:1", "acc_a", "next"))
    decisions.ended("req_1:1", router_pb2.OUTCOME_OK)
    refused, taken = decisions.of("req_1")
    assert (refused.pool, refused.outcome) == ("default", router_pb2.OUTCOME_UNSPECIFIED)
    assert (taken.pool, taken.outcome) == ("next", router_pb2.OUTCOME_OK)
