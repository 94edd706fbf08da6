"""A customer's keys in the shapes of New-API: what is read, what is written, and how they fit ours. Pure.

Amounts are in its unit of quota, 500,000 to the dollar. An answer is `{"success": true, "message": "", "data": ...}`.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from services.console.api.messages import Schema
from services.console.key_form import LIMIT_MOST, LIMITS
from services.console.problems import Problem
from services.shared import clock
from services.shared.money import NANO_PER_DOLLAR
from tollhouse.v1 import auth_pb2, types_pb2

QUOTA_PER_DOLLAR: Final = 500_000
NANO_PER_QUOTA: Final = NANO_PER_DOLLAR // QUOTA_PER_DOLLAR
_NEVER: Final = -1
_MOST_SECONDS: Final = 253_402_300_799  # the year 9999, where dates end
_MOST_QUOTA: Final = 10_000_000 * QUOTA_PER_DOLLAR
_ENABLED: Final = 1
_DISABLED: Final = 2
_EXPIRED: Final = 3
_EXHAUSTED: Final = 4
_METRICS: Final = {metric: name.removeprefix("limit_") for name, metric in LIMITS.items()}
_STATUSES: Final = (_ENABLED, _DISABLED, _EXPIRED, _EXHAUSTED)


class KeyForm(msgspec.Struct):
    """What a key is to be. What is left out stays as it is or, of a new key, as its default; other fields that a caller
    sends back as it read them are not looked at."""

    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    expired_time: int | UnsetType = UNSET
    unlimited_quota: bool | UnsetType = UNSET
    remain_quota: int | UnsetType = UNSET
    model_limits_enabled: bool | UnsetType = UNSET
    model_limits: str | UnsetType = UNSET
    allow_ips: str | UnsetType | None = UNSET
    group: str | UnsetType = UNSET
    plan: str | UnsetType = UNSET
    limits: dict[str, int] | UnsetType = UNSET
    status: int | UnsetType = UNSET


class KeyObject(msgspec.Struct):
    """A key as lists show it: masked, in New-API's names, with the plan beside."""

    id: str
    key: str
    name: str
    status: int
    """1 enabled, 2 disabled, 3 expired, 4 its spend cap is used up."""
    created_time: int
    expired_time: int
    """Unix seconds; -1 for never."""
    unlimited_quota: bool
    remain_quota: int
    used_quota: int
    model_limits_enabled: bool
    model_limits: str
    allow_ips: str
    group: str
    plan: str
    limits: dict[str, int]
    """By what they limit, a minute or, of `concurrent`, at a time. Those of single models are the operator's."""


class KeyIds(msgspec.Struct):
    """Several keys."""

    ids: list[str]


def success(data: Any = UNSET) -> dict[str, Any]:
    """What New-API answers where all went well."""
    return {"success": True, "message": ""} | ({} if data is UNSET else {"data": data})


def of_data(data: Schema | None) -> dict[str, Schema]:
    """The schema of such an answer."""
    said: dict[str, Schema] = {"success": {"type": "boolean"}, "message": {"type": "string"}}
    return said | ({"data": data} if data else {})


def key_object(key: auth_pb2.Key, spent_nano: int) -> KeyObject:
    """A key, and what it has spent."""
    capped = key.HasField("spend_cap_nano")
    left_nano = max(0, key.spend_cap_nano - spent_nano) if capped else 0
    status = _ENABLED if key.enabled else _DISABLED
    if status == _ENABLED and 0 < key.expires_ms <= clock.now_ms():
        status = _EXPIRED
    elif status == _ENABLED and capped and not left_nano:
        status = _EXHAUSTED
    return KeyObject(
        id=key.key_id,
        key=key.hint,
        name=key.name,
        status=status,
        created_time=key.created_ms // clock.MS_PER_S,
        expired_time=_seconds(key.expires_ms),
        unlimited_quota=not capped,
        remain_quota=left_nano // NANO_PER_QUOTA,
        used_quota=spent_nano // NANO_PER_QUOTA,
        model_limits_enabled=bool(key.models),
        model_limits=",".join(key.models),
        allow_ips="\n".join(key.addresses),
        group=key.group,
        plan=key.plan,
        limits={_METRICS[limit.metric]: limit.amount for limit in key.limits if not limit.model},
    )


def apply(key: auth_pb2.Key, form: KeyForm, spent_nano: int) -> None:
    """Writes what a form says into a key. Raises Problem."""
    if form.name is not UNSET:
        key.name = form.name
    if form.expired_time is not UNSET:
        if form.expired_time != _NEVER and not 0 < form.expired_time <= _MOST_SECONDS:
            raise Problem(400, "expired_time: -1 or Unix seconds are needed.", param="expired_time")
        if form.expired_time != _seconds(key.expires_ms):  # else it stays to the millisecond
            key.expires_ms = 0 if form.expired_time == _NEVER else form.expired_time * clock.MS_PER_S
    _apply_cap(key, form, spent_nano)
    if form.model_limits is not UNSET:
        key.models[:] = [model.strip() for model in form.model_limits.split(",") if model.strip()]
    if form.model_limits_enabled is False:
        del key.models[:]
    if form.allow_ips is not UNSET:
        key.addresses[:] = [line.strip() for line in (form.allow_ips or "").splitlines() if line.strip()]
    if form.group:
        key.group = form.group
    if form.plan is not UNSET:
        key.plan = form.plan
    if form.limits is not UNSET:
        _apply_limits(key, form.limits)
    if form.status is not UNSET:
        if form.status not in _STATUSES:
            raise Problem(400, "status: 1 or 2 is needed.", param="status")
        if form.status in (_ENABLED, _DISABLED):  # the others are what was read, sent back
            key.enabled = form.status == _ENABLED


def _apply_limits(key: auth_pb2.Key, limits: dict[str, int]) -> None:
    """Replaces the limits of all models together; those of single models stay."""
    numbers = {word: metric for metric, word in _METRICS.items()}
    kept = [limit for limit in key.limits if limit.model]
    for word, amount in limits.items():
        if word not in numbers:
            raise Problem(400, f"limits: {', '.join(numbers)} can be limited.", param="limits")
        if not 0 <= amount <= LIMIT_MOST:
            raise Problem(400, f"limits: {word} is from 0 to {LIMIT_MOST}.", param="limits")
        kept.append(types_pb2.Limit(metric=numbers[word], amount=amount))
    del key.limits[:]
    key.limits.extend(kept)


def _apply_cap(key: auth_pb2.Key, form: KeyForm, spent_nano: int) -> None:
    """New-API speaks of what is left to a key, we keep what it may spend in all."""
    if form.unlimited_quota is True:
        key.ClearField("spend_cap_nano")
    elif form.remain_quota is not UNSET:
        if not 0 <= form.remain_quota <= _MOST_QUOTA:
            raise Problem(400, f"remain_quota: 0 to {_MOST_QUOTA} is needed.", param="remain_quota")
        key.spend_cap_nano = spent_nano + form.remain_quota * NANO_PER_QUOTA
    elif form.unlimited_quota is False and not key.HasField("spend_cap_nano"):
        raise Problem(400, "remain_quota is needed where unlimited_quota is false.", param="remain_quota")


def _seconds(expires_ms: int) -> int:
    return expires_ms // clock.MS_PER_S if expires_ms else _NEVER


def text(said: str | UnsetType) -> str:
    """What was said, or nothing."""
    return "" if said is UNSET else said
