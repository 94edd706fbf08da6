"""Addresses of the network: which of them anybody may be sent to."""

from ipaddress import IPv6Address, ip_address


def is_public(address: str) -> bool:
    """Whether an IP address is of the open internet, and neither of this machine nor of a private network, as the
    registries of special-purpose addresses say (RFC 6890). An IPv4 address inside an IPv6 one is judged by itself.
    False for what is no IP address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast
