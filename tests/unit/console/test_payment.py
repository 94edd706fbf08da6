"""Unit tests of services.console.payments: what a provider's answer makes of a payment, and what is signed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.console.payments.nowpayments import NowPayments, canonical
from services.console.payments.payment import Finding, Forged, Movement, Payment, Report, State, absorbed, next_check
from services.shared.settings import Secret

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ASKED = Payment("p", "t", "person", "bank", 25_000, created_at=NOW)


@pytest.mark.parametrize("report", [Report(State.PAID, 24_999), Report(State.PAID, 25_000, "EUR")])
def test_another_amount_or_currency_than_asked_for_is_never_paid(report: Report) -> None:
    known = absorbed(ASKED, report)
    assert (known.state, known.finding, known.due_nano) == (State.REVIEW, Finding.MISMATCH, 0)


def test_a_currency_may_be_written_in_lower_case() -> None:
    assert absorbed(ASKED, Report(State.PAID, 25_000, "usd")).due_nano == 25_000


def test_what_is_due_is_what_was_paid_without_what_went_back_and_never_below_zero() -> None:
    paid = replace(ASKED, state=State.PAID)
    assert paid.due_nano == 25_000
    assert replace(paid, returned_nano=10_000).due_nano == 15_000
    assert replace(paid, returned_nano=30_000).due_nano == 0
    assert replace(ASKED, state=State.REVIEW).due_nano == 0
    assert replace(ASKED, state=State.REVIEW, decided_nano=7_000).due_nano == 7_000
    for state in (State.OPEN, State.PROCESSING, State.EXPIRED, State.FAILED):
        assert replace(ASKED, state=state).due_nano == 0


def test_the_first_movement_has_the_payments_id_as_its_idempotency_key() -> None:
    assert Movement("p", 1, 5).idempotency_key == "p"
    assert Movement("p", 2, -5).idempotency_key == "p:2"


def test_what_was_known_of_a_payments_parts_stays_known() -> None:
    known = absorbed(replace(ASKED, parts=("b",)), Report(State.OPEN, 25_000, parts=("a", "b")))
    assert known.parts == ("a", "b")


def test_a_payment_is_checked_ever_more_rarely_and_a_few_dozen_times_in_all() -> None:
    paid, at, checks = replace(ASKED, state=State.PAID), NOW, []
    while (following := next_check(paid, at)) is not None:
        checks.append(following - at)
        at = following
    assert checks[0] == timedelta(minutes=1)
    assert checks == sorted(checks)
    assert 20 < len(checks) < 80
    assert at - NOW >= timedelta(days=180)


def test_a_payment_that_nobody_made_is_given_up_sooner() -> None:
    later = NOW + timedelta(days=31)
    assert next_check(ASKED, later) is None
    assert next_check(replace(ASKED, state=State.PAID), later) is not None


def test_a_body_is_signed_with_its_keys_sorted_and_its_numbers_as_they_were_written() -> None:
    body = '{"b": {"d": 1e-7, "c": 1.50}, "a": "größer/x", "n": 12345678901234567890, "l": [{"z": 1, "y": null}]}'
    assert canonical(body.encode()).decode() == (
        '{"a":"größer/x","b":{"c":1.50,"d":1e-7},"l":[{"y":null,"z":1}],"n":12345678901234567890}'
    )
    assert json.loads(canonical(body.encode())) == json.loads(body)


@pytest.mark.parametrize("body", [b'{"a":' + b"[" * 100_000, b'{"a":"\xff"}', b"[]", b"", b"{}"])
def test_what_no_provider_sends_is_forged_whatever_it_is(body: bytes) -> None:
    provider = NowPayments("http://127.0.0.1:9", Secret("key"), Secret("signs"), "coins")
    with pytest.raises(Forged):
        provider.heard({"x-nowpayments-sig": "0" * 128}, body)
