"""Unit tests of services.auth.access: what a key may be restricted to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.access import MOST_ADDRESSES, MOST_MODELS, listed_addresses, listed_models
from services.edge.access import networks
from services.shared.errors import Kind, Refusal


def test_models_are_kept_sorted_and_once() -> None:
    assert listed_models(["opus", "openai/gpt-5.2", "opus"]) == ["openai/gpt-5.2", "opus"]
    assert listed_models([]) == []


def test_addresses_are_kept_in_their_usual_form_in_their_order_and_once() -> None:
    said = [" 10.0.0.0/8", "2001:DB8:0::1", "203.0.113.7/32", "203.0.113.7", "fd00::/8", "2001:db8::1/128"]
    assert listed_addresses(said) == ["10.0.0.0/8", "2001:db8::1", "203.0.113.7", "fd00::/8"]


@pytest.mark.parametrize("models", [[""], [" opus"], ["x" * 201], [f"m{number}" for number in range(MOST_MODELS + 1)]])
def test_what_is_no_list_of_models_is_refused(models: list[str]) -> None:
    with pytest.raises(Refusal, match="models: ") as refused:
        listed_models(models)
    assert refused.value.kind is Kind.INVALID_REQUEST


@pytest.mark.parametrize(
    "address", ["", "house.example", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "1.2.3.4:80", "fe80::1%eth0/64", "*"]
)
def test_what_is_no_address_is_refused_by_its_name(address: str) -> None:
    with pytest.raises(Refusal, match="addresses: ") as refused:
        listed_addresses(["::1", address])
    assert address in refused.value.message


def test_only_so_many_addresses_can_be_listed() -> None:
    addresses = [f"10.0.{number}.0/24" for number in range(MOST_ADDRESSES + 1)]
    with pytest.raises(Refusal, match="at most"):
        listed_addresses(addresses)
    assert len(listed_addresses(addresses[1:])) == MOST_ADDRESSES


@given(st.lists(st.ip_addresses().map(str), max_size=5))
def test_what_is_kept_is_what_edges_understand(addresses: list[str]) -> None:
    kept = listed_addresses(addresses)
    assert listed_addresses(kept) == kept
    assert len(networks(tuple(kept))) == len(kept)
