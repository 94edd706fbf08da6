"""Sockets that lead to the open internet only."""

import errno
import socket
from typing import Any

from services.shared.addresses import is_public


def public_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket for an address as `getaddrinfo` gives it, for aiohttp's `socket_factory`. What a name leads to is looked
    at when it is connected to, so that no answer of DNS in between can change it. Raises OSError for an address that is
    not of the open internet."""
    family, kind, protocol, _, place = address
    if not is_public(str(place[0])):
        raise OSError(errno.EACCES, "the address is not of the open internet")
    return socket.socket(family, kind, protocol)
