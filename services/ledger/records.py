"""Booked attempts, as they are read: what a request used is the sum of them. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple, Self

from services.ledger.settlement import unix_ms
from tollhouse.v1 import events_pb2, types_pb2, usage_pb2

_TOKEN_VERSION: Final = "1"  # noqa: S105  # of resume tokens, which are no secret
_MAX_TRANSACTION: Final = (1 << 63) - 2


@dataclass(frozen=True, slots=True)
class BookedAttempt:
    """What is read of a row of usage_records; money in nano-dollars."""

    request_id: str
    attempt: int
    final: bool
    tenant_id: str
    key_id: str
    model: str
    upstream_model: str
    upstream_account_id: str
    upstream_request_id: str
    status: int
    http_status: int
    stream: bool
    estimated: bool
    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cost_nano: int
    upstream_cost_nano: int
    price_version: int
    multiplier_ppm: int
    created_at: datetime
    duration_ms: int
    first_token_ms: int
    request_sha256: bytes
    response_sha256: bytes
    delivered_bytes: int
    idempotency_key: str
    client_retry: int
    transaction_id: int


class Position(NamedTuple):
    """A place in the order of booking: right behind this attempt."""

    transaction_id: int
    request_id: str = ""
    attempt: int = 0

    @classmethod
    def behind(cls, transaction_id: int) -> Self:
        """Behind everything that this transaction and those before it booked."""
        return cls(transaction_id + 1)

    @classmethod
    def of(cls, attempt: BookedAttempt) -> Self:
        """Behind this attempt."""
        return cls(attempt.transaction_id, attempt.request_id, attempt.attempt)

    def token(self) -> str:
        """As a resume token."""
        return f"{_TOKEN_VERSION}.{self.transaction_id}.{self.attempt}.{self.request_id}"

    @classmethod
    def from_token(cls, token: str) -> Self:
        """The place that a resume token stands for. Raises ValueError."""
        version, transaction_id, attempt, request_id = token.split(".", 3)
        if version != _TOKEN_VERSION or not transaction_id.isdecimal() or not attempt.isdecimal():
            raise ValueError("is not a resume token")
        place = cls(int(transaction_id), request_id, int(attempt))
        if place.transaction_id > _MAX_TRANSACTION or place.attempt > 1000 or "\0" in request_id:
            raise ValueError("is not a resume token")
        return place


def requests(attempts: Iterable[BookedAttempt], reads_all: bool) -> Iterator[usage_pb2.Usage]:
    """The requests of attempts that stand together by request."""
    for _, of_request in groupby(attempts, key=lambda attempt: attempt.request_id):
        yield usage_of(list(of_request), reads_all)


def usage_of(attempts: list[BookedAttempt], reads_all: bool) -> usage_pb2.Usage:
    """One request: the sum over its attempts, which are in their order. `reads_all` as in `attempt_message`."""
    last = attempts[-1]
    details = [attempt_message(attempt, reads_all) for attempt in attempts]
    return usage_pb2.Usage(
        request_id=last.request_id,
        tenant_id=last.tenant_id,
        key_id=last.key_id,
        model=last.model,
        status=events_pb2.UsageStatus.ValueType(last.status),
        tokens=_sum([detail.tokens for detail in details]),
        cost_nano=sum(attempt.cost_nano for attempt in attempts),
        price_version=last.price_version,
        multiplier_ppm=last.multiplier_ppm,
        created_ms=unix_ms(last.created_at),
        duration_ms=max(attempt.duration_ms for attempt in attempts),
        first_token_ms=last.first_token_ms,
        estimated=any(attempt.estimated for attempt in attempts),
        attempts=len(attempts),
        idempotency_key=last.idempotency_key,
        delivered_bytes=sum(attempt.delivered_bytes for attempt in attempts),
        attempts_detail=details,
        request_sha256=last.request_sha256,
        response_sha256=last.response_sha256,
    )


def attempt_message(row: BookedAttempt, reads_all: bool) -> usage_pb2.UsageAttempt:
    """An attempt as it is told. Which account served it and what that cost us is for those who read all tenants."""
    return usage_pb2.UsageAttempt(
        request_id=row.request_id,
        attempt=row.attempt,
        final=row.final,
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        model=row.model,
        upstream_model=row.upstream_model,
        upstream_account_id=row.upstream_account_id if reads_all else "",
        upstream_request_id=row.upstream_request_id,
        status=events_pb2.UsageStatus.ValueType(row.status),
        http_status=row.http_status,
        tokens=types_pb2.TokenCounts(
            input=row.input_tokens,
            output=row.output_tokens,
            cache_read=row.cache_read_tokens,
            cache_write_5m=row.cache_write_5m_tokens,
            cache_write_1h=row.cache_write_1h_tokens,
            requests=row.requests,
        ),
        estimated=row.estimated,
        cost_nano=row.cost_nano,
        upstream_cost_nano=row.upstream_cost_nano if reads_all else None,
        price_version=row.price_version,
        multiplier_ppm=row.multiplier_ppm,
        created_ms=unix_ms(row.created_at),
        duration_ms=row.duration_ms,
        first_token_ms=row.first_token_ms,
        stream=row.stream,
        delivered_bytes=row.delivered_bytes,
        idempotency_key=row.idempotency_key,
        client_retry=row.client_retry,
    )


def _sum(counts: list[types_pb2.TokenCounts]) -> types_pb2.TokenCounts:
    return types_pb2.TokenCounts(
        input=sum(count.input for count in counts),
        output=sum(count.output for count in counts),
        cache_read=sum(count.cache_read for count in counts),
        cache_write_5m=sum(count.cache_write_5m for count in counts),
        cache_write_1h=sum(count.cache_write_1h for count in counts),
        requests=sum(count.requests for count in counts),
    )
