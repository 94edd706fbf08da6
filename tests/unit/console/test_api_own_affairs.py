"""Unit tests of what is pure in a customer's own affairs: what is told of a payment, and what of usage is not."""

from dataclasses import replace
from datetime import UTC, datetime

from services.console.api.payment_objects import any_payment, payment_object, record
from services.console.api.usage import theirs
from services.console.payments.payment import Movement, Payment, State
from services.console.payments.store import Event
from tollhouse.v1 import billing_pb2, usage_pb2

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
AT_MS = 1_777_636_800_000
OPEN = Payment("p", "t", "person", "stripe", 25, reference="cs_1", url="https://pay.example/1", created_at=AT)


def test_upstream_accounts_and_our_costs_are_cleared_wherever_they_stand() -> None:
    attempt = usage_pb2.UsageAttempt(
        request_id="r",
        upstream_account_id="acc",
        upstream_model="theirs",
        upstream_request_id="req",
        upstream_cost_nano=7,
        cost_nano=9,
    )
    told = theirs(usage_pb2.Usage(request_id="r", attempts_detail=[attempt, attempt]))
    kept = usage_pb2.UsageAttempt(request_id="r", cost_nano=9)
    assert told == usage_pb2.Usage(request_id="r", attempts_detail=[kept, kept])
    bucket = usage_pb2.UsageBucket(upstream_account_id="acc", upstream_cost_nano=1, margin_nano=2, cost_nano=3)
    assert theirs(bucket) == usage_pb2.UsageBucket(cost_nano=3)


def test_who_of_us_moved_a_balance_is_cleared() -> None:
    moved = billing_pb2.Transaction(kind="promotion", reason="welcome", actor="somebody@ours.example")
    assert theirs(moved) == billing_pb2.Transaction(kind="promotion", reason="welcome")


def test_a_payment_says_where_it_is_paid_only_while_it_can_be() -> None:
    assert payment_object(OPEN).url == "https://pay.example/1"
    assert payment_object(OPEN).created_ms == AT_MS
    assert payment_object(replace(OPEN, state=State.PAID)).url == ""


def test_operators_see_what_payers_do_not() -> None:
    assert any_payment(replace(OPEN, state=State.REVIEW)).needs_decision
    assert not hasattr(payment_object(OPEN), "reference")
    movements = [Movement("p", 1, 25, AT), Movement("p", 2, -5, None, "spent")]
    said = record(OPEN, movements, [Event(AT, "stripe", "Paid.")])
    assert said.credited_nano == 25
    assert [(one.number, one.done_ms, one.refused) for one in said.movements] == [(1, AT_MS, ""), (2, None, "spent")]
    assert [(one.at_ms, one.said) for one in said.events] == [(AT_MS, "Paid.")]
