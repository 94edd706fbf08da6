"""Unit tests of services.console.api.messages: messages as JSON, there and back."""

from typing import Any

import pytest

from services.console.api.messages import Unreadable, from_json, object_schema, to_json, words_of
from tollhouse.v1 import auth_pb2, billing_pb2, router_pb2, types_pb2, usage_pb2

ACCOUNT = router_pb2.UpstreamAccount(
    name="a",
    kind=router_pb2.UPSTREAM_KIND_OPENROUTER,
    models={"public": "theirs"},
    limits=router_pb2.AccountLimits(concurrent=3),
    health=[router_pb2.AccountHealth(family="f", state=router_pb2.AccountHealth.STATE_COOLING)],
)


def test_all_fields_are_told_in_words_and_numbers() -> None:
    said = to_json(ACCOUNT)
    assert said.keys() == {field.name for field in ACCOUNT.DESCRIPTOR.fields}
    assert (said["kind"], said["models"], said["limits"]["concurrent"]) == ("openrouter", {"public": "theirs"}, 3)
    assert said["health"][0]["state"] == "cooling"
    assert said["created_ms"] == 0


def test_what_is_not_set_is_null_and_bytes_are_hexadecimal() -> None:
    assert to_json(auth_pb2.Key())["spend_cap_nano"] is None
    assert to_json(auth_pb2.Key(spend_cap_nano=0))["spend_cap_nano"] == 0
    assert to_json(usage_pb2.Usage(request_sha256=b"\x01\xff"))["request_sha256"] == "01ff"


def test_what_changes_by_itself_can_be_left_out() -> None:
    assert not {"health", "in_flight"} & to_json(ACCOUNT, live=False).keys()


def test_what_was_read_can_be_sent_back_without_what_is_read_only() -> None:
    again = from_json(router_pb2.UpstreamAccount, to_json(ACCOUNT))
    wanted = router_pb2.UpstreamAccount()
    wanted.CopyFrom(ACCOUNT)
    wanted.ClearField("health")
    wanted.ClearField("name")
    assert again == wanted


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ([], ""),
        ({"nothing": 1}, "nothing"),
        ({"priority": "1"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"weight": -1}, "weight"),
        ({"weight": 2**32}, "weight"),
        ({"enabled": 1}, "enabled"),
        ({"kind": "UPSTREAM_KIND_ANTHROPIC"}, "kind"),
        ({"kind": 1}, "kind"),
        ({"models": []}, "models"),
        ({"models": {"a": 1}}, "models.a"),
        ({"limits": {"concurrent": "x"}}, "limits.concurrent"),
        ({"note": "\x00"}, "note"),
        ({"note": "\ud800"}, "note"),
    ],
)
def test_what_does_not_fit_is_named(said: Any, param: str) -> None:
    with pytest.raises(Unreadable) as unreadable:
        from_json(router_pb2.UpstreamAccount, said)
    assert unreadable.value.param == param


def test_what_is_hidden_cannot_be_said() -> None:
    with pytest.raises(Unreadable):
        from_json(billing_pb2.TopUpRequest, {"actor": "me"}, hidden=("actor",))


def test_null_is_as_if_nothing_was_said() -> None:
    assert from_json(auth_pb2.Key, {"spend_cap_nano": None, "models": None}) == auth_pb2.Key()


def test_the_words_of_an_enum_lack_what_they_all_begin_with() -> None:
    assert words_of(types_pb2.DESCRIPTOR.enum_types_by_name["LimitMetric"])[:2] == ["unspecified", "requests"]


def test_a_schema_says_what_is_read_only_and_what_may_be_null() -> None:
    components: dict[str, Any] = {}
    schema = object_schema(auth_pb2.Key.DESCRIPTOR, components)
    assert schema["properties"]["hint"]["readOnly"] is True
    assert schema["properties"]["spend_cap_nano"]["type"] == ["integer", "null"]
    assert components.keys() == {"Limit"}
    assert "hint" not in object_schema(auth_pb2.Key.DESCRIPTOR, components, ["hint"])["properties"]
