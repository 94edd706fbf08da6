"""Settlement: what a usage event means for the books. Pure.

An event is checked, priced by the row that was fixed at its admission, and becomes one row of usage_records.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from services.ledger.costs import NO_COSTS, CostBook
from services.shared import ids
from services.shared.money import LIST_PRICE_PPM
from services.shared.pricing import Rates, Tokens
from tollhouse.v1 import events_pb2, types_pb2

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TOKENS: Final = 1 << 40
_STATUSES: Final = frozenset(events_pb2.UsageStatus.values())
_MAX_INT: Final = (1 << 31) - 1
_MAX_SMALL: Final = (1 << 15) - 1
_MAX_COST_NANO: Final = (1 << 63) - 1
_IDEMPOTENCY_KEY_LENGTH: Final = 200


class Poison(Exception):
    """An event that can never be booked; its text says why."""


class UsageRow(NamedTuple):
    """One row of usage_records, in the order of its columns; money in nano-dollars."""

    created_at: datetime
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
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cost_nano: int
    price_version: int
    grant_id: str
    duration_ms: int
    first_token_ms: int
    requests: int
    multiplier_ppm: int
    key_grant_id: str
    held_nano: int
    request_sha256: bytes
    response_sha256: bytes
    delivered_bytes: int
    idempotency_key: str
    client_retry: int
    upstream_cost_nano: int
    cost_version: int


def instant(unix_ms: int) -> datetime:
    """Unix milliseconds as an exact datetime."""
    return EPOCH + timedelta(milliseconds=unix_ms)


def unix_ms(at: datetime) -> int:
    """A datetime as Unix milliseconds."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def tokens_of(counts: types_pb2.TokenCounts) -> Tokens:
    """Token counts as they cross the wire."""
    return Tokens(
        counts.input,
        counts.output,
        counts.cache_read,
        counts.cache_write_5m,
        counts.cache_write_1h,
        counts.requests,
    )


def decode(data: bytes) -> list[events_pb2.UsageEvent]:
    """The events of one JetStream message. Raises Poison."""
    try:
        return list(events_pb2.UsageEventBatch.FromString(data).events)
    except DecodeError:
        raise Poison("not a UsageEventBatch") from None


def _faults(event: events_pb2.UsageEvent) -> Iterator[str]:
    if not 1 <= event.attempt <= 1000:
        yield "attempt is out of range"
    if event.event_id != ids.event_id(event.request_id, event.attempt):
        yield "event_id is not request_id:attempt"
    if ids.created_ms(event.request_id) != event.created_ms:
        yield "created_ms is not the instant in request_id"
    if not event.tenant_id:
        yield "no tenant_id"
    if not event.price_version:
        yield "no price_version"
    if event.status not in _STATUSES or not event.status:
        yield "status is unknown"
    counts = event.tokens
    if max(counts.input, counts.output, counts.cache_read, counts.cache_write_5m, counts.cache_write_1h) > _MAX_TOKENS:
        yield "a token count is out of range"
    if event.http_status > 999:
        yield "http_status is out of range"
    if counts.requests > 1:
        yield "more than one request"
    if event.multiplier_ppm > _MAX_INT or not 0 <= event.held_nano <= _MAX_COST_NANO:
        yield "multiplier_ppm or held_nano is out of range"
    if len(event.request_sha256) not in (0, 32) or len(event.response_sha256) not in (0, 32):
        yield "a digest is not 32 bytes"
    if event.delivered_bytes > _MAX_COST_NANO:
        yield "delivered_bytes is out of range"
    texts = event.model + event.upstream_model + event.upstream_request_id + event.tenant_id + event.key_id
    if "\0" in texts + event.idempotency_key + event.key_grant_id:
        yield "a text holds a NUL character"


def settle(event: events_pb2.UsageEvent, rates: Mapping[int, Rates], costs: CostBook = NO_COSTS) -> UsageRow:
    """The row that books `event`, with what it cost us where that is known. Raises Poison when it is malformed, its
    price row does not exist or the cost is absurd."""
    for fault in _faults(event):
        raise Poison(f"event {event.event_id!r}: {fault}")
    price = rates.get(event.price_version)
    if price is None:
        raise Poison(f"event {event.event_id!r}: there is no price version {event.price_version}")
    multiplier_ppm = event.multiplier_ppm or LIST_PRICE_PPM
    if multiplier_ppm != price.multiplier_ppm:
        price = replace(price, multiplier_ppm=multiplier_ppm)
    tokens = tokens_of(event.tokens)
    cost_nano = price.cost_nano(tokens)
    if cost_nano > _MAX_COST_NANO:
        raise Poison(f"event {event.event_id!r}: the cost is out of range")
    ours = costs.rates(event.upstream_account_id, event.upstream_model, event.model, event.created_ms)
    return UsageRow(
        created_at=instant(event.created_ms),
        request_id=event.request_id,
        attempt=event.attempt,
        final=event.final,
        tenant_id=event.tenant_id,
        key_id=event.key_id,
        model=event.model,
        upstream_model=event.upstream_model,
        upstream_account_id=event.upstream_account_id,
        upstream_request_id=event.upstream_request_id,
        status=event.status,
        http_status=event.http_status,
        stream=event.stream,
        estimated=event.estimated,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_5m_tokens=tokens.cache_write_5m,
        cache_write_1h_tokens=tokens.cache_write_1h,
        cost_nano=cost_nano,
        price_version=event.price_version,
        grant_id=event.grant_id,
        duration_ms=min(event.duration_ms, _MAX_INT),
        first_token_ms=min(event.first_token_ms, _MAX_INT),
        requests=tokens.requests,
        multiplier_ppm=multiplier_ppm,
        key_grant_id=event.key_grant_id,
        held_nano=event.held_nano,
        request_sha256=event.request_sha256,
        response_sha256=event.response_sha256,
        delivered_bytes=event.delivered_bytes,
        idempotency_key=event.idempotency_key[:_IDEMPOTENCY_KEY_LENGTH],
        client_retry=min(event.client_retry, _MAX_SMALL),
        upstream_cost_nano=min(ours.cost_nano(tokens), _MAX_COST_NANO) if ours else 0,
        cost_version=ours.price_version if ours else 0,
    )
