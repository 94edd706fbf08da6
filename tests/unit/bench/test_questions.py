"""Unit tests of bench.questions and bench.history."""

from datetime import UTC, datetime

from bench.history import LARGE, History
from bench.questions import Places, Question, Who, _unasked, questions

HISTORY = History(datetime(2026, 11, 21, 12, tzinfo=UTC))
PLACES = Places("req_1", "req_2", 7, "acc_1", "account", "model", "batch", "brand", "person")


def test_every_page_and_every_list_is_asked_for() -> None:
    asked = questions(HISTORY, PLACES)
    assert len({question.path for question in asked if question.who is Who.CUSTOMER}) > 40


def test_a_page_that_nobody_asks_for_is_noticed() -> None:
    assert "/dashboard/billing" in _unasked([Question(Who.CUSTOMER, "/dashboard")])


def test_one_tenant_has_its_share_of_the_keys() -> None:
    assert len(HISTORY.tenant_keys) == 200
    assert len(HISTORY.tenant_keys[LARGE]) == 600
    assert sum(map(len, HISTORY.tenant_keys.values())) == 2000
