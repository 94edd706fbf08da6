"""gRPC: how our servers are made and how our clients reach them.

Every server has health and reflection, and turns a `Refusal` into its gRPC status with the catalogue's kind in the
trailer `tollhouse-error-bin`. An exception that nobody foresaw becomes INTERNAL without detail.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.shared.errors import TRAILER, Kind, Refusal, from_detail, to_detail
from services.shared.telemetry import logger
from tollhouse.v1 import types_pb2

if TYPE_CHECKING:  # generic in their stubs only
    _Handler = grpc.RpcMethodHandler[Any, Any]
    _Context = grpc.aio.ServicerContext[Any, Any]

_MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # A peer that hangs or is cut off is noticed by a missing pong instead of by the kernel minutes later.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
)

_log = logger("rpc")


def channel(address: str) -> grpc.aio.Channel:
    """A channel to one of our services; connects by itself and again when it breaks."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def refusal_of(error: grpc.aio.AioRpcError, unavailable: Kind) -> Refusal:
    """What a failed call to one of our services means. Without a catalogue kind it is `unavailable`."""
    for name, value in error.trailing_metadata() or ():
        if name == TRAILER and isinstance(value, bytes):
            return from_detail(types_pb2.ErrorDetail.FromString(value))
    return Refusal(unavailable, f"{unavailable.meaning} ({error.code().name})")


class Server:
    """One service's gRPC server, its health included. Serving state is told per service and for the whole."""

    def __init__(self, address: str, names: Sequence[str]) -> None:
        self.grpc = grpc.aio.server(interceptors=[_Refusals()], options=_OPTIONS)
        self.address = address
        self._health = health.aio.HealthServicer()
        self._names = ["", *names]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self.grpc)

    async def start(self) -> None:
        """Binds, serves and says so. Raises OSError when the address is taken."""
        try:
            bound = self.grpc.add_insecure_port(self.address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.address}") from error
        if not bound:
            raise OSError(f"cannot listen on {self.address}")
        await self.grpc.start()
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Not serving, then no new calls, then those under way get `grace_s` to end."""
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(grace_s)


class _Refusals(grpc.aio.ServerInterceptor):
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[_Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler  # streams hold their refusals in the results of their items
        answer: Callable[[Any, Any], Awaitable[Any]] = handler.unary_unary

        async def guarded(request: Any, context: "_Context") -> Any:
            try:
                return await answer(request, context)
            except Refusal as refusal:
                await _abort(context, refusal)
            except (grpc.aio.AbortError, grpc.aio.UsageError):
                raise
            except Exception:
                _log.exception("rpc_failed", method=handler_call_details.method)
                await _abort(context, Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def _abort(context: "_Context", refusal: Refusal) -> None:
    await context.abort(
        refusal.kind.grpc_status,
        refusal.message,
        trailing_metadata=((TRAILER, to_detail(refusal).SerializeToString()),),
    )
