"""What a key may call and from where: its lists of models and of addresses, and the client's address. Pure."""

import ipaddress
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final, Protocol

from services.shared.errors import Kind, Refusal

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

_LISTS: Final = 4_096
"""Lists of addresses that are remembered parsed."""
_FORWARDED_FOR: Final = b"x-forwarded-for"


class Listed(Protocol):
    """A principal, as far as its lists go; an empty list lets everything pass."""

    @property
    def models(self) -> AbstractSet[str]:
        """Public models."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """IP addresses and CIDR blocks."""


def check(principal: Listed, model: str, address: str) -> None:
    """Raises Refusal when the key may not call `model`, or not from `address`. An empty `model` is a call that names
    none; an empty `address` is one that is not known, which is on no list."""
    if principal.addresses:
        here = _address(address)
        if here is None or not _within(here, networks(principal.addresses)):
            raise Refusal(
                Kind.ADDRESS_NOT_ALLOWED, f"the key may not be used from {address or 'an address that is not known'}"
            )
    if principal.models and model and model not in principal.models:
        raise Refusal(Kind.MODEL_NOT_ALLOWED, f"the key may not call the model {model!r}", param="model")


@lru_cache(_LISTS)
def networks(addresses: tuple[str, ...]) -> Networks:
    """Addresses and CIDR blocks, parsed. Raises ValueError that names the one which is neither."""
    return tuple(ipaddress.ip_network(address) for address in addresses)


def trusted_networks(text: str) -> Networks:
    """The setting `trusted_proxies`: addresses and CIDR blocks between commas. Raises ValueError."""
    return networks(tuple(part.strip() for part in text.split(",") if part.strip()))


def client_address(peer: str, headers: Iterable[tuple[bytes, bytes]], trusted: Networks) -> str:
    """Where a request comes from: the peer of its connection or, where that is a proxy we trust, the last address that
    no such proxy vouches for itself. Empty when it is not known.

    Proxies append to X-Forwarded-For whom they were called by, so only what stands right of the first untrusted entry
    from the right was written by our own:
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For#selecting_an_ip_address
    """
    here = _address(peer)
    if here is None:
        return ""
    if not trusted or not _within(here, trusted):
        return str(here)
    for entry in reversed(_forwarded(headers)):
        before = _address(_without_port(entry))
        if before is None:
            return ""  # a proxy of ours did not know, and what stands further left anybody may have written
        here = before
        if not _within(here, trusted):
            break
    return str(here)


def is_within(address: str, blocks: Networks) -> bool:
    """Whether an address is in one of the blocks."""
    parsed = _address(address)
    return parsed is not None and _within(parsed, blocks)


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> Sequence[str]:
    """The entries of every X-Forwarded-For line, in order: lines of one name are one list (RFC 9110 section 5.3)."""
    lines = [value.decode("latin-1") for name, value in headers if name == _FORWARDED_FOR]
    return [entry for entry in (part.strip() for part in ",".join(lines).split(",")) if entry]


def _without_port(entry: str) -> str:
    """Some proxies write `1.2.3.4:5678` and `[::1]:5678`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _address(text: str) -> Address | None:
    """An address without its zone; version 4 where a socket for both versions wraps it."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _within(address: Address, blocks: Networks) -> bool:
    return any(address in block for block in blocks)
