"""Unit tests of services.edge.dialects.new_api: what a key is told of itself."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects.new_api import Funds, billing_usage, funds_of, subscription
from tollhouse.v1 import auth_pb2


def test_a_cap_and_the_balance_both_bound_what_is_left() -> None:
    assert funds_of(auth_pb2.Key(), 5, 100) == Funds(5, 100)
    assert funds_of(auth_pb2.Key(spend_cap_nano=50), 5, 100) == Funds(5, 45)
    assert funds_of(auth_pb2.Key(spend_cap_nano=50), 5, 10) == Funds(5, 10)
    assert funds_of(auth_pb2.Key(spend_cap_nano=50), 60, 10) == Funds(60, 0)


@given(st.integers(0, 10**16), st.integers(0, 10**16))
def test_amounts_are_exact_in_their_units(spent_nano: int, left_nano: int) -> None:
    funds = Funds(spent_nano, left_nano)
    limit = msgspec.json.encode(subscription(auth_pb2.Key(), funds)["hard_limit_usd"]).decode()
    used = msgspec.json.encode(billing_usage(funds)["total_usage"]).decode()
    assert int(limit.replace(".", "")) == spent_nano + left_nano
    assert int(used.replace(".", "")) == spent_nano
    assert (len(limit.partition(".")[2]), len(used.partition(".")[2])) == (9, 7)
