"""Unit tests of services.edge.access: lists of models and of addresses, and where a request comes from."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.access import check, client_address, networks, trusted_networks
from services.edge.principals import Principal
from services.shared.errors import Kind, Refusal

TRUSTED = trusted_networks("10.0.0.0/8, fd00::/8")
FORWARDED = b"x-forwarded-for"


def principal(models: tuple[str, ...] = (), addresses: tuple[str, ...] = ()) -> Principal:
    return Principal("acme", "key_1", "default", models=frozenset(models), addresses=addresses)


def refused(who: Principal, model: str, address: str) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        check(who, model, address)
    assert refusal.value.kind.http_status == 403
    return refusal.value


# ---- lists ----


def test_a_key_without_lists_may_call_everything_from_everywhere() -> None:
    check(principal(), "opus", "203.0.113.7")
    check(principal(), "opus", "")


def test_a_key_calls_the_models_on_its_list_and_no_other() -> None:
    who = principal(models=("opus", "openai/gpt-5.2"))
    check(who, "opus", "")
    check(who, "openai/gpt-5.2", "")
    for other in ("haiku", "opus-4", "gpt-5.2", "Opus"):
        assert refused(who, other, "").kind is Kind.MODEL_NOT_ALLOWED


def test_a_call_that_names_no_model_is_not_held_against_the_list_of_models() -> None:
    check(principal(models=("opus",)), "", "")


@pytest.mark.parametrize(
    ("listed", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.0/24", "203.0.113.255"),
        ("2001:db8::1", "2001:0db8:0:0::1"),
        ("2001:db8::/32", "2001:db8:ffff::9"),
        ("203.0.113.7", "::ffff:203.0.113.7"),
        ("fe80::/10", "fe80::1%eth0"),
        ("0.0.0.0/0", "8.8.8.8"),
    ],
)
def test_an_address_on_the_list_passes(listed: str, address: str) -> None:
    check(principal(addresses=("192.0.2.1", listed)), "opus", address)


@pytest.mark.parametrize(
    ("listed", "address"),
    [
        ("203.0.113.7", "203.0.113.8"),
        ("203.0.113.0/24", "203.0.114.0"),
        ("2001:db8::1", "2001:db8::2"),
        ("0.0.0.0/0", "2001:db8::1"),
        ("::/0", "203.0.113.7"),
        ("203.0.113.7", ""),
        ("203.0.113.7", "unknown"),
        ("0.0.0.0/0", "203.0.113.7.example"),
    ],
)
def test_an_address_off_the_list_and_one_that_is_not_known_are_refused(listed: str, address: str) -> None:
    assert refused(principal(addresses=(listed,)), "opus", address).kind is Kind.ADDRESS_NOT_ALLOWED


def test_the_address_is_told_before_the_model() -> None:
    assert refused(principal(("opus",), ("192.0.2.1",)), "haiku", "192.0.2.2").kind is Kind.ADDRESS_NOT_ALLOWED


def test_a_list_is_parsed_once() -> None:
    assert networks(("198.51.100.0/24", "::1")) is networks(("198.51.100.0/24", "::1"))


@given(st.ip_addresses(), st.integers(0, 128))
def test_an_address_is_in_every_block_around_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int
) -> None:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return
    block = ipaddress.ip_network((address, min(bits, address.max_prefixlen)), strict=False)
    check(principal(addresses=(str(block),)), "opus", str(address))


# ---- where a request comes from ----


def test_without_trusted_proxies_the_peer_is_the_client_whatever_it_says() -> None:
    assert client_address("203.0.113.7", [(FORWARDED, b"192.0.2.1")], ()) == "203.0.113.7"


def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says() -> None:
    assert client_address("203.0.113.7", [(FORWARDED, b"192.0.2.1")], TRUSTED) == "203.0.113.7"


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([b"192.0.2.1"], "192.0.2.1"),
        ([b"198.51.100.9, 192.0.2.1"], "192.0.2.1"),
        ([b"198.51.100.9,192.0.2.1, 10.1.1.1"], "192.0.2.1"),
        ([b"198.51.100.9, 192.0.2.1", b"10.1.1.1, fd00::5"], "192.0.2.1"),
        ([b"192.0.2.1:4711"], "192.0.2.1"),
        ([b"[2001:db8::1]:4711"], "2001:db8::1"),
        ([b"[2001:db8::1]"], "2001:db8::1"),
        ([b"2001:db8::1"], "2001:db8::1"),
        ([b"::ffff:192.0.2.1"], "192.0.2.1"),
        ([b"10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        ([b"192.0.2.1, , "], "192.0.2.1"),
        ([], "10.0.0.1"),
        ([b""], "10.0.0.1"),
        ([b"192.0.2.1, unknown"], ""),
        ([b"192.0.2.1, \xff"], ""),
    ],
)
def test_behind_trusted_proxies_the_client_is_the_last_address_that_is_none(lines: list[bytes], client: str) -> None:
    headers = [(b"host", b"x"), *((FORWARDED, line) for line in lines)]
    assert client_address("10.0.0.1", headers, TRUSTED) == client
    assert client_address("::ffff:10.0.0.1", headers, TRUSTED) == client


@pytest.mark.parametrize("peer", ["", "unix:", "testclient"])
def test_a_peer_without_an_address_is_not_known(peer: str) -> None:
    assert client_address(peer, [(FORWARDED, b"192.0.2.1")], TRUSTED) == ""


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_no_header_makes_a_client_that_is_not_an_address(lines: list[bytes]) -> None:
    said = client_address("10.0.0.1", [(FORWARDED, line) for line in lines], TRUSTED)
    assert said == "" or ipaddress.ip_address(said)


@given(st.lists(st.ip_addresses(v=4), max_size=4))
def test_what_a_client_writes_itself_never_counts(
    forged: list[ipaddress.IPv4Address],
) -> None:
    line = ", ".join([*map(str, forged), "192.0.2.1"]).encode()
    assert client_address("10.0.0.1", [(FORWARDED, line)], TRUSTED) == "192.0.2.1"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy.example", "10.0.0.1/8"])
def test_trusted_proxies_that_are_no_addresses_are_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition("/")[0]):
        trusted_networks(f"::1, {text}")
