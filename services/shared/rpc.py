"""gRPC: how our servers are made and how our clients reach them.

Every server has health and reflection, and turns a `Refusal` into its gRPC status with the catalogue's kind in the
trailer `tollhouse-error-bin`. An exception that nobody foresaw becomes INTERNAL without detail. A server with a guard
asks it before each call of ours; health and reflection stay open.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.shared.addresses import Address
from services.shared.errors import TRAILER, Kind, Refusal, from_detail, to_detail
from services.shared.settings import Secret
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
_RETRIED: Final = (
    {"service": "tollhouse.v1.LedgerService"},
    {"service": "tollhouse.v1.UsageService"},
    {"service": "tollhouse.v1.BillingService", "method": "ListPrices"},
)
"""Calls that may be made twice: those that change something do so under an id or a total that the caller chose."""
_RETRY: Final = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""A replica that is lost costs its callers a moment: another one is asked
(https://github.com/grpc/proposal/blob/master/A6-client-retries.md)."""

_OPEN: Final = ("/grpc.health.", "/grpc.reflection.")
_TOKEN_KINDS: Final = (Kind.TOKEN_MISSING, Kind.TOKEN_UNKNOWN, Kind.TOKEN_SCOPE)

Guard = Callable[[str, "_Context"], Awaitable[None]]
"""Lets a call pass or raises Refusal: given the method, such as `/tollhouse.v1.UsageService/GetUsage`, and the call's
context, which knows what the caller brought. Runs in the task of the handler, so that it may set context variables."""

_log = logger("rpc")


def channel(
    address: str,
    token: Secret | None = None,
    further: Sequence[grpc.aio.ClientInterceptor] = (),
    *,
    spread: bool = False,
) -> grpc.aio.Channel:
    """A channel to one of our services; connects by itself and again when it breaks. Every call brings the token, and
    passes the further interceptors first. Where the address (see `Address`) leads to several replicas, one of them gets
    every call as long as it answers or, with `spread`, all of them in turn."""
    interceptors = [*further, *([_TokenOnUnary(token), _TokenOnStream(token)] if token else ())]
    return grpc.aio.insecure_channel(Address(address).target, options=_options(spread), interceptors=interceptors)


def blocking_channel(address: str) -> grpc.Channel:
    """The same for a command: blocking, and to one replica."""
    return grpc.insecure_channel(Address(address).target, options=_options(spread=False))


def _options(spread: bool) -> Sequence[tuple[str, Any]]:
    service_config = {
        "loadBalancingConfig": [{"round_robin": {}} if spread else {"pick_first": {}}],
        "methodConfig": [{"name": _RETRIED, "retryPolicy": _RETRY}],
    }
    return (*_OPTIONS, ("grpc.service_config", json.dumps(service_config)))


def with_token(channel: grpc.Channel, token: Secret) -> grpc.Channel:
    """A blocking channel every call on which brings the token."""
    return grpc.intercept_channel(channel, _TokenOnBlockingCall(token))


def bearer(token: Secret) -> tuple[str, str]:
    """A service token as a call's metadata."""
    return "authorization", f"Bearer {token.reveal()}"


def refusal_of(error: grpc.aio.AioRpcError, unavailable: Kind) -> Refusal:
    """What a failed call to one of our services means. Without a catalogue kind it is `unavailable`; so it is when our
    own token was refused, for that is nothing that whoever called us could mend."""
    for name, value in error.trailing_metadata() or ():
        if name == TRAILER and isinstance(value, bytes):
            refusal = from_detail(types_pb2.ErrorDetail.FromString(value))
            if refusal.kind in _TOKEN_KINDS:
                break
            return refusal
    return Refusal(unavailable, f"{unavailable.meaning} ({error.code().name})")


class Server:
    """One service's gRPC server, its health included. Serving state is told per service and for the whole."""

    def __init__(self, address: str, names: Sequence[str], guard: Guard | None = None) -> None:
        self.grpc = grpc.aio.server(interceptors=[_Gate(guard)], options=_OPTIONS)
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


class _Gate(grpc.aio.ServerInterceptor):
    """Asks the guard before a call, and turns what a handler raises into a status."""

    def __init__(self, guard: Guard | None) -> None:
        self._guard = guard

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[_Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or method.startswith(_OPEN):
            return handler
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        if self._guard is None:
            return handler  # streams of questions hold their refusals in the results of their items
        raise NotImplementedError(f"{method}: a guarded server takes no stream of questions")

    def _unary(self, method: str, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def guarded(request: Any, context: "_Context") -> Any:
            try:
                if self._guard is not None:
                    await self._guard(method, context)
                return await answer(request, context)
            except Exception as error:
                await _fail(method, context, error)

        return guarded

    def _stream(self, method: str, answers: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def guarded(request: Any, context: "_Context") -> AsyncIterator[Any]:
            try:
                if self._guard is not None:
                    await self._guard(method, context)
                async for answer in answers(request, context):
                    yield answer
            except Exception as error:
                await _fail(method, context, error)

        return guarded


async def _fail(method: str, context: "_Context", error: Exception) -> None:
    """Ends a call with the status of what its handler raised."""
    if isinstance(error, grpc.aio.AbortError | grpc.aio.UsageError):
        raise error
    if isinstance(error, Refusal):
        await _abort(context, error)
    _log.error("rpc_failed", method=method, exc_info=error)
    await _abort(context, Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))


async def _abort(context: "_Context", refusal: Refusal) -> None:
    await context.abort(
        refusal.kind.grpc_status,
        refusal.message,
        trailing_metadata=((TRAILER, to_detail(refusal).SerializeToString()),),
    )


class _TokenOnUnary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: Secret) -> None:
        self._header = bearer(token)

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_header(client_call_details, self._header), request)


class _TokenOnStream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, token: Secret) -> None:
        self._header = bearer(token)

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_header(client_call_details, self._header), request)


class _TokenOnBlockingCall(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, token: Secret) -> None:
        self._header = bearer(token)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_header(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_header(client_call_details), request)

    def _with_header(self, details: Any) -> Any:
        return details._replace(metadata=[*(details.metadata or ()), self._header])


def _with_header(details: grpc.aio.ClientCallDetails, header: tuple[str, str]) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()), header)
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )
