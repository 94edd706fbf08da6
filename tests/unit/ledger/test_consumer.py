"""How long what cannot be parked waits."""

from services.ledger.consumer import unparked_again_s


def test_what_cannot_be_parked_comes_again_ever_more_seldom_and_still_every_five_minutes() -> None:
    waits = [unparked_again_s(deliveries) for deliveries in (1, 2, 3, 9, 10, 1_000_000)]
    assert waits == [1, 2, 4, 256, 300, 300]
