"""Where operators may point an upstream account: to the open internet, unless a setting allows more.

What a name leads to may change after it was stored. So this spares operators a mistake, and the edge, which connects,
looks at the address that it is connected to.
"""

import asyncio
import socket
from urllib.parse import urlsplit

from services.router.rows import AccountChange
from services.shared.addresses import is_public
from services.shared.errors import Kind, Refusal


class Reach:
    """Looks at the hosts of an upstream account.

    Args:
        private: whether addresses of this machine and of private networks are allowed.
    """

    def __init__(self, private: bool) -> None:
        self.private = private

    async def check(self, change: AccountChange) -> None:
        """Raises Refusal, which names the field."""
        if self.private:
            return
        for name, url in (("base_url", change.base_url), ("proxy", change.proxy)):
            host = urlsplit(url).hostname
            if host and not all(is_public(address) for address in await _addresses(host)):
                said = f"{name} leads to this machine or into a private network, which is not allowed here"
                raise Refusal(Kind.INVALID_REQUEST, said, param=name)


async def _addresses(host: str) -> list[str]:
    """What a host's name leads to; nothing where it is not known here, as edges may know more."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]
