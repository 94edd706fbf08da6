"""A gRPC channel under TLS that goes on under a new certificate when its files rotate.

grpc.aio takes a client's certificate once, when a channel is made (https://github.com/grpc/grpc/issues/41779). So a new
channel takes the place of the old one, which gets some time for the calls that it still carries: what runs longer, as
streams of decisions do, is cut and opened again by whoever holds it, under the new certificate.
"""

from __future__ import annotations  # the stubs of the callables are generic for type checkers only

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

import grpc

from services.shared.tls import Material, Tls

_OLD_CALLS_S: Final = 30.0

Connect = Callable[[grpc.ChannelCredentials], grpc.aio.Channel]
"""Makes a channel with these credentials."""


class RotatingChannel(grpc.aio.Channel):
    """Looks at every call whether the certificate is still the one that it connected with.

    Args:
        tls: the certificate.
        connect: makes a channel.
        old_calls_s: how long calls on a channel that was replaced may take.
    """

    def __init__(self, tls: Tls, connect: Connect, old_calls_s: float = _OLD_CALLS_S) -> None:
        self._tls = tls
        self._connect = connect
        self._old_calls_s = old_calls_s
        self._material: Material = tls.material()
        self._channel = connect(tls.channel_credentials())
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """The channel for the next call."""
        material = self._tls.material()
        if material is not self._material:
            replaced, self._material = self._channel, material
            self._channel = self._connect(self._tls.channel_credentials())
            closing = asyncio.get_running_loop().create_task(replaced.close(self._old_calls_s))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return self._channel

    async def close(self, grace: float | None = None) -> None:
        """Closes it, and those that it replaced."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._channel.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Of the channel for the next call."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Of the channel for the next call."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns when the channel for the next call is connected."""
        await self.current().channel_ready()

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """A callable that asks on the current channel."""
        return _Callable(self, "unary_unary", arguments, named)

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """A callable that asks on the current channel."""
        return _Callable(self, "unary_stream", arguments, named)

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """A callable that asks on the current channel."""
        return _Callable(self, "stream_unary", arguments, named)

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """A callable that asks on the current channel."""
        return _Callable(self, "stream_stream", arguments, named)


class _Callable:
    """One method, made anew on each new channel."""

    def __init__(self, owner: RotatingChannel, kind: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._owner = owner
        self._kind = kind
        self._arguments = arguments
        self._named = named
        self._channel: grpc.aio.Channel | None = None
        self._made: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        channel = self._owner.current()
        if channel is not self._channel or self._made is None:
            self._channel, self._made = channel, getattr(channel, self._kind)(*self._arguments, **self._named)
        return self._made(*arguments, **named)
