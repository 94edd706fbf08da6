"""Unit tests of services.console.api.key_forms: New-API's shapes and ours."""

from typing import Any

import msgspec
import pytest

from services.console.api.key_forms import KeyForm, apply, key_object
from services.console.problems import Problem
from tollhouse.v1 import auth_pb2

NANO_PER_QUOTA = 2_000


def applied(said: dict[str, Any], key: auth_pb2.Key | None = None, spent_nano: int = 0) -> auth_pb2.Key:
    key = key or auth_pb2.Key(key_id="key_1", name="k", enabled=True)
    apply(key, msgspec.convert(said, KeyForm), spent_nano)
    return key


def test_what_is_left_and_what_was_spent_make_the_cap() -> None:
    key = applied({"remain_quota": 10}, spent_nano=5 * NANO_PER_QUOTA)
    assert key.spend_cap_nano == 15 * NANO_PER_QUOTA
    shown = key_object(key, 5 * NANO_PER_QUOTA)
    assert (shown.remain_quota, shown.used_quota, shown.unlimited_quota) == (10, 5, False)


def test_a_key_without_a_cap_has_none() -> None:
    assert not applied({"unlimited_quota": True, "remain_quota": 7}).HasField("spend_cap_nano")
    assert key_object(auth_pb2.Key(), 0).unlimited_quota is True


def test_a_cap_that_was_overspent_leaves_nothing() -> None:
    key = auth_pb2.Key(enabled=True, spend_cap_nano=10)
    assert (key_object(key, 20).remain_quota, key_object(key, 20).status) == (0, 4)


def test_an_end_that_is_sent_back_stays_to_the_millisecond() -> None:
    key = auth_pb2.Key(name="k", expires_ms=1_700_000_000_123)
    assert applied({"expired_time": 1_700_000_000}, key).expires_ms == 1_700_000_000_123
    assert applied({"expired_time": 1_800_000_000}, key).expires_ms == 1_800_000_000_000
    assert applied({"expired_time": -1}, key).expires_ms == 0


def test_lists_are_read_without_what_stands_around_their_members() -> None:
    key = applied({"model_limits": " a, b ,,", "allow_ips": "10.0.0.1\r\n\n 2001:db8::/32 "})
    assert list(key.models) == ["a", "b"]
    assert list(key.addresses) == ["10.0.0.1", "2001:db8::/32"]
    assert not applied({"model_limits": "a", "model_limits_enabled": False}).models
    assert not applied({"allow_ips": None}, auth_pb2.Key(addresses=["10.0.0.1"])).addresses


@pytest.mark.parametrize(("status", "enabled"), [(1, True), (2, False), (3, True), (4, True)])
def test_only_enabled_and_disabled_can_be_set(status: int, enabled: bool) -> None:
    assert applied({"status": status}).enabled is enabled


def test_an_expired_key_says_so_unless_it_is_disabled() -> None:
    assert key_object(auth_pb2.Key(enabled=True, expires_ms=1), 0).status == 3
    assert key_object(auth_pb2.Key(enabled=False, expires_ms=1), 0).status == 2


@pytest.mark.parametrize(
    "said",
    [{"expired_time": 0}, {"expired_time": 10**15}, {"remain_quota": -1}, {"unlimited_quota": False}, {"status": 5}],
)
def test_what_does_not_fit_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Problem) as problem:
        applied(said)
    assert problem.value.status == 400
    assert problem.value.param
