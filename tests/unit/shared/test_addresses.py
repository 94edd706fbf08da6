"""Unit tests of services.shared.addresses."""

import pytest

from services.shared.addresses import Address, is_public


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "localhost", "", "example.com"),
        *("64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("2001:0:7f00:1::", "fec0::1", "3fff::1", "5f00::1"),
    ],
)
def test_addresses_of_this_machine_and_of_private_networks_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("ledger:7003", "ledger:7003"),
        ("dns:///ledger-headless:7003", "dns:///ledger-headless:7003"),
        ("10.0.0.1:7003, 10.0.0.2:7004", "ipv4:10.0.0.1:7003,10.0.0.2:7004"),
        ("[::1]:7003,[::2]:7003", "ipv6:[::1]:7003,[::2]:7003"),
    ],
)
def test_an_address_leads_to_one_name_or_to_several_places(text: str, target: str) -> None:
    assert Address(text).target == target


@pytest.mark.parametrize("text", ["ledger-0:7003,ledger-1:7003", "10.0.0.1:1,[::1]:1", "10.0.0.1:1,10.0.0.2", "a,"])
def test_several_places_are_ip_addresses_of_one_family_with_ports(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|mixes|port"):
        Address(text)
