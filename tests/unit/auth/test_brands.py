"""Unit tests of services.auth.brands: what a brand may be."""

import json
from typing import Any

import pytest

from services.auth.brands import MOST_HOSTS, brand_of, completed, stored
from services.shared import principal
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2

WHOLE = auth_pb2.Brand(
    name="house",
    hosts=["house.example", "10.0.0.1", "localhost"],
    base_paths=["/api/proxy/v1", "/v1"],
    key_prefix="house_",
    reveal=True,
    mask="{first4}****{last4}",
    error_types={"key_unknown": "house_error"},
    openai_error_types={"key_unknown": "invalid_api_key"},
    error_codes={"model_unknown": "model_not_found"},
    bare_errors=True,
    unknown_model_status=503,
    default_max_tokens=4096,
    request_id_header="X-House-Request-Id",
    upstream_account_id_header="X-House-Account-Id",
    model_list_extras=True,
    google_keys_on_models=True,
    top_ups=[auth_pb2.TOP_UP_CRYPTO],
    is_default=True,
)


def changed(**fields: Any) -> auth_pb2.Brand:
    brand = auth_pb2.Brand()
    brand.CopyFrom(WHOLE)
    for name in fields:
        brand.ClearField(name)  # type: ignore[arg-type]
    brand.MergeFrom(auth_pb2.Brand(**fields))
    return brand


def test_a_brand_that_says_everything_stays_as_it_is() -> None:
    assert completed(WHOLE) == WHOLE


def test_what_is_left_out_is_filled_in_and_the_question_is_not_changed() -> None:
    said = auth_pb2.Brand(name="bare")
    whole = completed(said)
    assert said == auth_pb2.Brand(name="bare")
    assert (whole.key_prefix, whole.mask) == (principal.KEY_PREFIX, principal.MASK)
    assert (list(whole.base_paths), whole.unknown_model_status) == (["/v1"], 404)


def test_a_brand_comes_back_from_the_store_as_it_was() -> None:
    kept = json.loads(json.dumps(stored(WHOLE)))
    assert brand_of("house", WHOLE.hosts, True, kept) == WHOLE
    assert not {"name", "hosts", "is_default"} & kept.keys()


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    assert brand_of("house", [], False, {"reveal": True, "colour": "red"}).reveal


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "House"),
        ("name", "x" * 64),
        ("name", "a b"),
        ("hosts", ["House.example"]),
        ("hosts", ["house.example:80"]),
        ("hosts", ["house..example"]),
        ("hosts", ["-house.example"]),
        ("hosts", [""]),
        ("hosts", ["a" * 64 + ".example"]),
        ("hosts", ["a.example", "a.example"]),
        ("hosts", [f"h{number}.example" for number in range(MOST_HOSTS + 1)]),
        ("hosts", ["house.example\n"]),
        ("base_paths", ["v1"]),
        ("base_paths", ["/v1/"]),
        ("base_paths", ["/"]),
        ("base_paths", ["/v1?x"]),
        ("base_paths", [f"/v{number}" for number in range(9)]),
        ("key_prefix", "house"),
        ("key_prefix", "ho use_"),
        ("key_prefix", "x" * 32 + "-"),
        ("mask", "{key}"),
        ("mask", "{prefix}{body}"),
        ("mask", "shown: {last4}"),
        ("error_types.no_such_kind", {"no_such_kind": "x"}),
        ("error_types.key_unknown", {"key_unknown": ""}),
        ("error_types.key_unknown", {"key_unknown": "Not A Word"}),
        ("openai_error_types.key_unknown", {"key_unknown": "x-y"}),
        ("error_codes.key_unknown", {"key_unknown": '"'}),
        ("unknown_model_status", 500),
        ("default_max_tokens", 1 << 31),
        ("request_id_header", "Content-Length"),
        ("request_id_header", "X-House: x"),
        ("request_id_header", "X-House\r\nSet-Cookie"),
        ("request_id_header", "X-Request-Id"),
        ("upstream_account_id_header", "x-should-retry"),
        ("upstream_account_id_header", "x-house-request-id"),
        ("top_ups", [auth_pb2.TOP_UP_UNSPECIFIED]),
        ("top_ups", [auth_pb2.TOP_UP_CARD, auth_pb2.TOP_UP_CARD]),
        ("top_ups", [99]),
    ],
)
def test_a_fault_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(Refusal) as refused:
        completed(changed(**{field.partition(".")[0]: value}))
    assert refused.value.kind is Kind.INVALID_REQUEST
    assert refused.value.message.startswith(f"{field}: ")
    assert refused.value.details["param"] == field
