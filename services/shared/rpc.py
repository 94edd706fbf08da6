"""gRPC: how our servers are made and how our clients reach them.

Every server has health and reflection, and turns a `Refusal` into its gRPC status with the catalogue's kind in the
trailer `tollhouse-error-bin`. An exception that nobody foresaw becomes INTERNAL without detail. A server with TLS looks
into `permissions` before each call of ours, one with a guard asks that too. Health and reflection say nothing that is
secret, and stay open to whoever can connect: with TLS, to every certificate of the authority.
"""

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.shared import clock, permissions
from services.shared.addresses import Address
from services.shared.channels import RotatingChannel
from services.shared.errors import TRAILER, Kind, Refusal, from_detail, to_detail
from services.shared.metrics import Histogram, histogram
from services.shared.permissions import Peer
from services.shared.settings import Secret
from services.shared.telemetry import logger
from services.shared.tls import Tls
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
    *(
        {"service": "tollhouse.v1.LedgerService", "method": method}
        for method in (
            *("RaiseGrant", "RenewGrants", "LowerGrant", "AbandonGrants", "BookOrphans"),
            *("GetReconciliation", "ListReplicas", "ListDeadLetters"),
        )
    ),
    {"service": "tollhouse.v1.UsageService"},
    {"service": "tollhouse.v1.BillingService", "method": "ListPrices"},
)
"""Calls that may be made twice: those that change something do so under an id or a total that the caller chose.
Neither a replay of dead letters, which would tell of its last try alone, nor a verification, which reads everything."""
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
_OURSELVES: Final = (Kind.TOKEN_MISSING, Kind.TOKEN_UNKNOWN, Kind.TOKEN_SCOPE, Kind.CALLER_FORBIDDEN)
_SPIFFE_ID: Final = "peer_spiffe_id"
"""What gRPC calls the one URI on a peer's certificate that is a SPIFFE ID
(https://github.com/grpc/grpc/blob/v1.78.0/include/grpc/grpc_security_constants.h)."""

Guard = Callable[[str, "_Context"], Awaitable[None]]
"""Lets a call pass or raises Refusal: given the method, such as `/tollhouse.v1.UsageService/GetUsage`, and the call's
context, which knows what the caller brought. Runs in the task of the handler, so that it may set context variables."""

CALLS: Final = histogram(
    "rpc_server_call_duration_seconds",
    "how long calls of our gRPC methods took, by method and gRPC status code; streams that go on are not calls",
    "service",
    "rpc_method",
    "rpc_response_status_code",
)
"""OpenTelemetry's name and attributes:
https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/"""

_log = logger("rpc")


def channel(
    address: str,
    token: Secret | None = None,
    further: Sequence[grpc.aio.ClientInterceptor] = (),
    *,
    spread: bool = False,
    tls: Tls | None = None,
    to: Peer | None = None,
) -> grpc.aio.Channel:
    """A channel to one of our services; connects by itself and again when it breaks. Every call brings the token, and
    passes the further interceptors first. Where the address (see `Address`) leads to several replicas, one of them gets
    every call as long as it answers or, with `spread`, all of them in turn. With TLS only the service that is meant,
    `to`, is taken for it."""
    interceptors = [*further, *([_TokenOnUnary(token), _TokenOnStream(token)] if token else ())]
    target, options = Address(address).target, _options(spread)
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    demanding = [*options, *_demanding(to)]
    return RotatingChannel(
        tls,
        lambda credentials: grpc.aio.secure_channel(target, credentials, options=demanding, interceptors=interceptors),
    )


def look(channel: grpc.aio.Channel) -> None:
    """Replaces a channel whose certificate has rotated now, rather than with its next call."""
    if isinstance(channel, RotatingChannel):
        channel.current()


def blocking_channel(address: str, *, tls: Tls | None = None, to: Peer | None = None) -> grpc.Channel:
    """The same for a command, which ends before certificates rotate: blocking, and to one replica."""
    target, options = Address(address).target, _options(spread=False)
    if tls is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, tls.channel_credentials(), options=[*options, *_demanding(to)])


def _options(spread: bool) -> Sequence[tuple[str, Any]]:
    service_config = {
        "loadBalancingConfig": [{"round_robin": {}} if spread else {"pick_first": {}}],
        "methodConfig": [{"name": _RETRIED, "retryPolicy": _RETRY}],
    }
    return (*_OPTIONS, ("grpc.service_config", json.dumps(service_config)))


def _demanding(peer: Peer | None) -> Sequence[tuple[str, str]]:
    """gRPC's clients compare a certificate's DNS names and addresses only, never its URI; so servers have such a name
    that says who they are. It is the authority of requests too, which our servers do not look at."""
    return (("grpc.ssl_target_name_override", peer.host),) if peer else ()


def with_token(channel: grpc.Channel, token: Secret) -> grpc.Channel:
    """A blocking channel every call on which brings the token."""
    return grpc.intercept_channel(channel, _TokenOnBlockingCall(token))


def bearer(token: Secret) -> tuple[str, str]:
    """A service token as a call's metadata."""
    return "authorization", f"Bearer {token.reveal()}"


def refusal_of(error: grpc.aio.AioRpcError, unavailable: Kind) -> Refusal:
    """What a failed call to one of our services means. Without a catalogue kind it is `unavailable`; so it is when our
    own token or certificate was refused, for that is nothing that whoever called us could mend."""
    for name, value in error.trailing_metadata() or ():
        if name == TRAILER and isinstance(value, bytes):
            refusal = from_detail(types_pb2.ErrorDetail.FromString(value))
            if refusal.kind in _OURSELVES:
                break
            return refusal
    return Refusal(unavailable, f"{unavailable.meaning} ({error.code().name})")


class Server:
    """One service's gRPC server, its health included. Serving state is told per service and for the whole.

    Args:
        names: of its gRPC services, in full.
        guard: asked before each call.
        calls: notes each call: the service, the method, the status code.
        service: what it is called there.
        away: exceptions that say that what the service needs cannot be reached now, and the kind that callers get then.
        tls: whose certificates are asked of callers, who then may do what their table says; none without.
    """

    def __init__(
        self,
        address: str,
        names: Sequence[str],
        guard: Guard | None = None,
        *,
        calls: Histogram | None = None,
        service: str = "",
        away: tuple[tuple[type[Exception], ...], Kind] = ((), Kind.INTERNAL),
        tls: Tls | None = None,
    ) -> None:
        guards = [*([_permitted] if tls else ()), *([guard] if guard else ())]
        gate = _Gate(guards, _Calls(Histogram() if calls is None else calls, service), away)
        self.grpc = grpc.aio.server(interceptors=[gate], options=_OPTIONS)
        self.address = address
        self._tls = tls
        self.serving = False
        """Whether it takes calls."""
        self._health = health.aio.HealthServicer()
        self._names = ["", *names]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self.grpc)

    async def start(self) -> None:
        """Binds, serves and says so. Raises OSError when the address is taken."""
        try:
            if self._tls is None:
                bound = self.grpc.add_insecure_port(self.address)
            else:
                bound = self.grpc.add_secure_port(self.address, self._tls.server_credentials())
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.address}") from error
        if not bound:
            raise OSError(f"cannot listen on {self.address}")
        await self.grpc.start()
        self.serving = True
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Not serving, then no new calls, then those under way get `grace_s` to end."""
        self.serving = False
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(grace_s)


async def _permitted(method: str, context: "_Context") -> None:
    """The guard of a server with TLS."""
    (uri,) = context.auth_context().get(_SPIFFE_ID) or (b"",)
    permissions.permit(method, uri.decode("utf-8", "replace"))


class _Gate(grpc.aio.ServerInterceptor):
    """Asks the guards before a call, turns what a handler raises into a status, and notes how it went."""

    def __init__(
        self, guards: Sequence[Guard], calls: "_Calls", away: tuple[tuple[type[Exception], ...], Kind]
    ) -> None:
        self._guards = guards
        self._calls = calls
        self._away = away

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[_Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or method.startswith(_OPEN):
            return handler
        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), *codec)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), *codec)
        if not self._guards:
            return handler  # streams of questions hold their refusals in the results of their items
        if handler.stream_stream is not None and inspect.iscoroutinefunction(handler.stream_stream):
            return grpc.stream_stream_rpc_method_handler(self._conversation(method, handler.stream_stream), *codec)
        raise NotImplementedError(f"{method}: a guarded server takes no stream of this kind")

    def _unary(self, method: str, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def guarded(request: Any, context: "_Context") -> Any:
            began_s = clock.monotonic_s()
            try:
                for guard in self._guards:
                    await guard(method, context)
                return await answer(request, context)
            except Exception as error:
                await self._fail(method, context, error)
            finally:
                self._calls.ended(method, context, began_s)

        return guarded

    def _conversation(self, method: str, converse: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """A stream of questions, whose handler writes its answers itself. It lasts as long as its caller, which is no
        duration of a call."""

        async def guarded(questions: Any, context: "_Context") -> Any:
            try:
                for guard in self._guards:
                    await guard(method, context)
                return await converse(questions, context)
            except Exception as error:
                await self._fail(method, context, error)

        return guarded

    def _stream(self, method: str, answers: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def guarded(request: Any, context: "_Context") -> AsyncIterator[Any]:
            began_s = clock.monotonic_s()
            try:
                for guard in self._guards:
                    await guard(method, context)
                async for answer in answers(request, context):
                    yield answer
            except Exception as error:
                await self._fail(method, context, error)
            finally:
                self._calls.ended(method, context, began_s)

        return guarded

    async def _fail(self, method: str, context: "_Context", error: Exception) -> None:
        """Ends a call with the status of what its handler raised."""
        if isinstance(error, grpc.aio.AbortError | grpc.aio.UsageError):
            raise error
        if isinstance(error, Refusal):
            await _abort(context, error)
        exceptions, kind = self._away
        if isinstance(error, exceptions):
            _log.warning("rpc_not_served", method=method, error=repr(error))
            await _abort(context, Refusal(kind, kind.meaning))
        _log.error("rpc_failed", method=method, exc_info=error)
        await _abort(context, Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))


class _Calls:
    """Notes how calls went."""

    def __init__(self, durations: Histogram, service: str) -> None:
        self._durations = durations
        self._service = service

    def ended(self, method: str, context: "_Context", began_s: float) -> None:
        code = context.code() or grpc.StatusCode.OK
        name = code.name if isinstance(code, grpc.StatusCode) else str(code)
        took_s = clock.monotonic_s() - began_s
        self._durations[self._service, method.removeprefix("/"), name].observe(took_s)


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
