"""Ports: free ones for what nobody needs to know beforehand, and whether the public one is free."""

import errno
import random
import socket
from collections.abc import Sequence
from typing import Final

# Below the range that kernels take the ports of outgoing connections from: nobody's connection is in the way later,
# when a service is started anew.
_RANGE: Final = range(20_000, 30_000)
_TRIES: Final = 1_000


def free(count: int, taken: Sequence[int] = ()) -> list[int]:
    """So many distinct ports that are free on loopback now. Raises OSError when there are none."""
    found: list[int] = []
    for _ in range(_TRIES):
        if len(found) == count:
            return found
        port = random.choice(_RANGE)  # noqa: S311
        if port not in found and port not in taken and fault("127.0.0.1", port) is None:
            found.append(port)
    raise OSError(errno.EADDRINUSE, "no free ports on 127.0.0.1")


def fault(host: str, port: int) -> str | None:
    """Why nobody can listen there; None when one can. Without SO_REUSEPORT, which would share a port that is in use."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do no harm
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "something else listens there"
        return error.strerror or str(error)
    return None
