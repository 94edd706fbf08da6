"""Addresses of the network: where the replicas of a service are, and which addresses anybody may be sent to."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_EMBEDDING: Final = tuple(
    IPv6Network(block)
    for block in (
        "::/96",  # IPv4-compatible (RFC 4291, 2.5.5.1)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765, 2.1)
        "64:ff9b::/96",  # through a NAT64 (RFC 6052, 2.1)
    )
)
"""Blocks whose last 32 bits are an IPv4 address, beside those that ipaddress knows of."""
_NOT_PUBLIC: Final = tuple(
    ip_network(block)
    for block in (
        "64:ff9b:1::/48",  # a NAT64 of one's own (RFC 8215)
        "fec0::/10",  # site-local (RFC 3879)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
    )
)
"""What ipaddress takes for global, or did in a version that we run on."""


class Address(str):
    """Where a service's gRPC is: host:port, where a name may lead to several replicas, or the IP addresses and ports of
    several between commas. Raises ValueError."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Address":
        _target(text)
        return super().__new__(cls, text)

    @property
    def target(self) -> str:
        """The same as gRPC names it (https://github.com/grpc/grpc/blob/master/doc/naming.md)."""
        return _target(self)


def _target(text: str) -> str:
    if "," not in text:
        return text.strip()
    places = [place.strip() for place in text.split(",")]
    families = {_family(place) for place in places}
    if len(families) > 1:
        raise ValueError(f"{text!r} mixes IPv4 and IPv6")
    return f"{families.pop()}:{','.join(places)}"


def _family(place: str) -> str:
    host, _, port = place.rpartition(":")
    try:
        version = ip_address(host.removeprefix("[").removesuffix("]")).version
    except ValueError:
        raise ValueError(f"{place!r} is no IP address and port; a name stands alone") from None
    if not port.isdecimal():
        raise ValueError(f"{place!r} has no port")
    return f"ipv{version}"


def is_public(address: str) -> bool:
    """Whether an IP address is of the open internet, and neither of this machine nor of a private network, as the
    registries of special-purpose addresses say (RFC 6890). An IPv4 address inside an IPv6 one is judged by itself.
    False for what is no IP address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or _embedded(found) or found
    return found.is_global and not found.is_multicast and not any(found in block for block in _NOT_PUBLIC)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    within = any(address in block for block in _EMBEDDING)
    return IPv4Address(int(address) & 0xFFFF_FFFF) if within else None
