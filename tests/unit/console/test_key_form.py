"""Unit tests of services.console.key_form."""

from datetime import UTC, datetime

import pytest

from services.console import key_form
from services.console.forms import Form
from services.console.key_form import Choices
from tollhouse.v1 import auth_pb2, types_pb2

NOW_MS = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp() * 1000)
CHOICES = Choices(("default", "fast"), ("free", "pro"), ("claude-haiku-4-5", "claude-sonnet-4-6"))
KEY = auth_pb2.Key(
    key_id="key_1",
    tenant_id="t1",
    name="production",
    enabled=True,
    expires_ms=NOW_MS + 86_400_123,
    spend_cap_nano=2_500_000_000,
    group="fast",
    plan="pro",
    models=["claude-haiku-4-5"],
    addresses=["203.0.113.7", "2001:db8::/32"],
    limits=[
        types_pb2.Limit(metric=types_pb2.LIMIT_METRIC_REQUESTS, amount=60),
        types_pb2.Limit(metric=types_pb2.LIMIT_METRIC_TOKENS, amount=9, model="claude-haiku-4-5"),
    ],
)


def asked(present: auth_pb2.Key | None = None, **fields: str) -> tuple[auth_pb2.Key, Form]:
    form = Form({"name": "a key"} | fields)
    return key_form.key_of(form, present or auth_pb2.Key(group="default"), CHOICES, NOW_MS), form


def test_a_form_that_nobody_touched_changes_nothing() -> None:
    form = key_form.shown(KEY)
    same = key_form.key_of(form, KEY, CHOICES, NOW_MS)
    assert form.errors == {}
    assert sorted(same.limits, key=str) == sorted(KEY.limits, key=str)
    del same.limits[:]
    same.limits.extend(KEY.limits)
    assert same == KEY


def test_a_key_that_is_over_can_still_be_renamed() -> None:
    over = auth_pb2.Key()
    over.CopyFrom(KEY)
    over.expires_ms = NOW_MS - 86_400_000
    form = Form(key_form.shown(over).values | {"name": "old"})
    assert key_form.key_of(form, over, CHOICES, NOW_MS).expires_ms == over.expires_ms
    assert form.errors == {}


def test_empty_fields_lift_what_they_said() -> None:
    key, form = asked(KEY, group="fast")
    assert form.errors == {}
    assert (key.expires_ms, key.plan, list(key.models), list(key.addresses)) == (0, "", [], [])
    assert not key.HasField("spend_cap_nano")
    assert [limit.model for limit in key.limits] == ["claude-haiku-4-5"]  # an operator's, for one model: it stays


def test_a_cap_of_nothing_is_a_cap() -> None:
    key, _ = asked(spend_cap="0")
    assert key.HasField("spend_cap_nano")
    assert key.spend_cap_nano == 0


def test_addresses_come_a_line_each_or_between_commas() -> None:
    key, _ = asked(addresses="203.0.113.7, 10.0.0.0/8\r\n\r\n 2001:db8::1 ")
    assert list(key.addresses) == ["203.0.113.7", "10.0.0.0/8", "2001:db8::1"]


def test_expiry_is_of_utc_and_kept_to_the_minute() -> None:
    key, _ = asked(expires="2027-01-31T18:00")
    assert key.expires_ms == int(datetime(2027, 1, 31, 18, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("name", " "),
        ("name", "x" * 51),
        ("name", "a\nb"),
        ("expires", "tomorrow"),
        ("expires", "2026-11-21T11:59"),
        ("spend_cap", "ten"),
        ("spend_cap", "-1"),
        ("spend_cap", "0.0000000001"),
        ("spend_cap", "99999999999"),
        ("group", "operators"),
        ("plan", "enterprise"),
        ("models", "somebody-elses-model"),
        ("limit_requests", "-1"),
        ("limit_tokens", "1.5"),
        ("limit_concurrent", "9" * 30),
    ],
)
def test_what_cannot_be_is_said_beside_its_field(field: str, typed: str) -> None:
    form = Form({"name": "a key", field: typed})
    key_form.key_of(form, auth_pb2.Key(group="default"), CHOICES, NOW_MS)
    assert list(form.errors) == [field]


def test_what_an_operator_gave_a_key_stays_open_to_it_alone() -> None:
    key = auth_pb2.Key(group="private", plan="enterprise", models=["preview-model"])
    own = CHOICES.with_those_of(key)
    assert "private" in own.groups
    assert "enterprise" in own.plans
    assert "preview-model" in own.models
    assert "private" not in CHOICES.groups


def test_refusals_find_their_field() -> None:
    assert key_form.field_of("expires_ms") == "expires"
    assert key_form.field_of("addresses") == "addresses"
    assert key_form.field_of("tenant_id") == ""
