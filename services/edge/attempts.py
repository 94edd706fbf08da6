"""How attempts fail: whose fault it was, what the router is told, and what the client is, once all have failed."""

from typing import Final

from services.edge.dialects import upstream_errors
from services.edge.exchange import Attempt
from services.edge.metering import StreamMeter
from services.edge.upstream import Answer, Failure, UpstreamFailed
from services.shared import clock
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

_ERROR_MAX_BYTES: Final = 1024 * 1024
_CLIENT_FAULT: Final = router_pb2.OUTCOME_CLIENT_FAULT
_OF_EVERYBODY: Final = frozenset((Kind.UPSTREAM_THROTTLED, Kind.UPSTREAM_OVERLOADED))
"""What the client is told when it is true of every account that was tried, rather than of one that broke."""
_KINDS: Final = {
    router_pb2.OUTCOME_THROTTLED: Kind.UPSTREAM_THROTTLED,
    router_pb2.OUTCOME_OVERLOADED: Kind.UPSTREAM_OVERLOADED,
}


def failed(attempt: Attempt, failure: UpstreamFailed) -> Refusal:
    """Notes an attempt without an answer, and says so."""
    attempt.failed(failure)
    kind = Kind.UPSTREAM_TIMEOUT if failure.failure is Failure.SILENT else Kind.UPSTREAM_FAILED
    return Refusal(kind, f"the upstream {failure.failure.value}")


async def refused(attempt: Attempt, answer: Answer) -> tuple[Refusal, bytes, upstream_errors.UpstreamError]:
    """Notes an answer that is an error: says so, and answers its body, which may be shown where the fault is the
    client's own (I6), and what it says."""
    try:
        body = await answer.read(_ERROR_MAX_BYTES)
    except UpstreamFailed as failure:
        return failed(attempt, failure), b"", upstream_errors.UpstreamError(attempt.outcome, "")
    error = upstream_errors.upstream_error(answer.status, body, attempt.picked.kind)
    said = f"the upstream answered with status {answer.status}"
    return _noted(attempt, error, said), body, error


def broken(attempt: Attempt, last_data: bytes) -> Refusal | None:
    """Notes a stream that ended before its first content. None when its last event is an error of the client's fault,
    which should go on."""
    if b'"error"' not in last_data:
        return failed(attempt, UpstreamFailed(Failure.CUT, reached=True))
    error = upstream_errors.stream_error(last_data)
    refusal = _noted(attempt, error, "the upstream ended its answer with an error before it began")
    return None if attempt.status_is_client_fault else refusal


def cut(attempt: Attempt, meter: StreamMeter) -> None:
    """Notes a stream that ended before its proper end: the account's fault, unless the upstream ended it with an error
    of the client's, as it does with answers that it will not give."""
    attempt.interrupted()
    if meter.ended_with_error and upstream_errors.stream_error(meter.last_data).outcome == _CLIENT_FAULT:
        attempt.outcome = _CLIENT_FAULT


def summary(failures: list[Refusal], none_left: Refusal | None = None) -> Refusal:
    """What the client is told when attempts have failed. `none_left` is why no further account was picked."""
    if not failures:
        assert none_left is not None
        return none_left
    told = [*failures, none_left] if none_left is not None else failures
    kinds = {refusal.kind for refusal in told if refusal.kind is not Kind.NO_HEALTHY_ACCOUNT}
    if len(kinds) == 1 and kinds <= _OF_EVERYBODY:
        kind = kinds.pop()
        return Refusal(kind, kind.meaning, **min(told, key=_after_ms).details)
    return next((failure for failure in reversed(failures) if failure.kind not in _OF_EVERYBODY), failures[-1])


def _noted(attempt: Attempt, error: upstream_errors.UpstreamError, said: str) -> Refusal:
    if error.outcome == router_pb2.OUTCOME_CLIENT_FAULT:
        attempt.client_fault()
        return Refusal(Kind.INVALID_REQUEST, said)
    attempt.upstream_fault(error.outcome)
    kind = _KINDS.get(error.outcome)
    if kind is not None:
        after_ms = attempt.head.retry_after_ms(clock.now_ms()) if attempt.head else 0
        return Refusal(kind, kind.meaning, **({"retry_after_ms": str(after_ms)} if after_ms else {}))
    if error.outcome == router_pb2.OUTCOME_UPSTREAM_FAULT:
        return Refusal(Kind.UPSTREAM_FAILED, said, upstream_error_type=error.type)
    return Refusal(Kind.UPSTREAM_FAILED, "the upstream refused our account there")


def _after_ms(refusal: Refusal) -> float:
    said = refusal.details.get("retry_after_ms", "")
    return int(said) if said.isdigit() else float("inf")
