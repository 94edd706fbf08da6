"""Unit tests of services.console.failures."""

import pytest

from services.console.failures import sentence
from services.shared.errors import Blame, Kind, Refusal


def test_what_people_can_change_is_said_in_the_services_own_words() -> None:
    refusal = Refusal(Kind.INVALID_REQUEST, "name: must have 1 to 50 characters")
    assert sentence(refusal) == "Name: must have 1 to 50 characters."
    assert sentence(Refusal(Kind.VOUCHER_SPENT, "it was redeemed!")) == "It was redeemed!"


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.blame is Blame.OURS], ids=lambda kind: kind.label)
def test_what_is_our_fault_is_told_without_detail(kind: Kind) -> None:
    said = sentence(Refusal(kind, "connection to 10.0.0.3:5432 failed"))
    assert "10.0.0.3" not in said
    assert "try again" in said
