"""Unit tests of services.brand_file, and the examples against what the wire contract says of brands."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth import brands
from services.brand_file import Faults, parse, render
from services.edge.brand import Brand, from_message
from services.edge.dialects import errors
from services.edge.dialects.errors import APIS, Api
from services.shared import principal
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "brands"
NAMES = ("buzz", "cc", "haze", "cheap")
KEY_KINDS = (Kind.KEY_MISSING, Kind.KEY_CONFLICT, Kind.KEY_UNKNOWN, Kind.KEY_EXPIRED)
MONEY_KINDS = (Kind.BALANCE_EXHAUSTED, Kind.KEY_CAP_EXHAUSTED)


def example(name: str) -> Brand:
    return from_message(brands.completed(parse((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))))


def error(name: str, kind: Kind, api: Api) -> dict[str, Any]:
    """Status and body of an error of an example brand."""
    status, _, body = errors.answer(Refusal(kind, "why not"), api, example(name), "req_1")
    return {"status": status, "body": json.loads(body), **json.loads(body)["error"]}


# ---- the examples ----


def test_there_are_the_four_examples_and_no_other() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(NAMES)


def test_the_examples_can_be_stored_side_by_side() -> None:
    hosts = [host for name in NAMES for host in example(name).hosts]
    assert len(set(hosts)) == len(hosts) == 4
    assert not any(example(name).is_default for name in NAMES)


@pytest.mark.parametrize(
    ("name", "base_paths", "key_prefix", "reveal", "max_tokens", "headers", "extras", "top_ups"),
    [
        ("buzz", ("/v1", "/v1beta"), "sk-", True, 0, ("", ""), True, ("voucher", "card")),
        ("cc", ("/v1",), "cc_user_", False, 0, ("X-CC-Request-Id", "X-CC-Account-Id"), False, ("voucher", "card")),
        ("haze", ("/v1",), "sk-rr-", False, 0, ("", ""), False, ("card",)),
        ("cheap", ("/api/proxy/v1", "/v1"), "sk-cc-", False, 4096, ("", ""), False, ("crypto",)),
    ],
)
def test_an_example_is_what_the_contract_says(
    name: str,
    base_paths: tuple[str, ...],
    key_prefix: str,
    reveal: bool,
    max_tokens: int,
    headers: tuple[str, str],
    extras: bool,
    top_ups: tuple[str, ...],
) -> None:
    brand = example(name)
    assert brand.name == name
    assert (brand.base_paths, brand.key_prefix, brand.reveal) == (base_paths, key_prefix, reveal)
    assert brand.default_max_tokens == max_tokens
    assert (brand.request_id_header, brand.upstream_account_id_header) == headers
    assert (brand.model_list_extras, brand.top_ups) == (extras, top_ups)
    assert brand.google_keys_on_models == (name != "buzz")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("buzz", "sk-a**********wxyz"), ("cc", "cc_user_...wxyz"), ("haze", "sk-rr-...wxyz"), ("cheap", "sk-cc-...wxyz")],
)
def test_lists_show_keys_by_the_brands_mask(name: str, shown: str) -> None:
    brand = example(name)
    assert principal.hint(f"{brand.key_prefix}abcdefghijklmnopwxyz", brand.key_prefix, brand.mask) == shown


@pytest.mark.parametrize(
    ("name", "anthropic", "openai"),
    [
        ("buzz", "buzz_error", "buzz_error"),
        ("cc", "authentication_error", "authentication_error"),
        ("haze", "authentication_error", "invalid_api_key"),
        ("cheap", "authentication_error", "authentication_error"),
    ],
)
def test_a_key_that_is_not_good_is_called_by_the_brands_name_for_it(name: str, anthropic: str, openai: str) -> None:
    for kind in KEY_KINDS:
        assert (error(name, kind, "anthropic")["status"], error(name, kind, "anthropic")["type"]) == (401, anthropic)
        assert (error(name, kind, "openai")["status"], error(name, kind, "openai")["type"]) == (401, openai)
        assert error(name, kind, "openai")["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("buzz", "insufficient_balance"),
        ("cc", "insufficient_credit"),
        ("haze", "insufficient_balance"),
        ("cheap", "insufficient_balance"),
    ],
)
def test_running_out_of_money_is_402_by_the_brands_name_for_it(name: str, type_: str) -> None:
    for kind, api in product(MONEY_KINDS, ("anthropic", "openai")):
        told = error(name, kind, api)  # type: ignore[arg-type]
        assert (told["status"], told["type"]) == (402, type_)


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("buzz", "buzz_error"),
        ("cc", "overloaded_error"),
        ("haze", "no_available_channel"),
        ("cheap", "upstream_error"),
    ],
)
def test_no_healthy_account_is_503_by_the_brands_name_for_it(name: str, type_: str) -> None:
    told = error(name, Kind.NO_HEALTHY_ACCOUNT, "anthropic")
    assert (told["status"], told["type"]) == (503, type_)
    assert told.get("code") == ("model_not_found" if name == "buzz" else None)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_nobody_serves_is_404_but_for_buzz(name: str) -> None:
    told = error(name, Kind.MODEL_UNKNOWN, "anthropic")
    if name == "buzz":
        assert (told["status"], told["type"], told["code"]) == (503, "buzz_error", "model_not_found")
    else:
        assert (told["status"], told["type"], "code" in told) == (404, "not_found_error", False)
    assert error(name, Kind.MODEL_UNKNOWN, "openai")["code"] == "model_not_found"


@pytest.mark.parametrize("name", NAMES)
def test_only_buzz_has_no_type_beside_its_errors(name: str) -> None:
    body = error(name, Kind.KEY_UNKNOWN, "anthropic")["body"]
    assert ("type" in body) == (name != "buzz")
    assert body["error"]["message"] == "why not (request id: req_1)"


@pytest.mark.parametrize(
    ("kind", "status", "type_"),
    [
        (Kind.INVALID_REQUEST, 400, "invalid_request_error"),
        (Kind.KEY_DISABLED, 403, "permission_error"),
        (Kind.MODEL_NOT_ALLOWED, 403, "permission_error"),
        (Kind.ADDRESS_NOT_ALLOWED, 403, "permission_error"),
        (Kind.ROUTE_UNKNOWN, 404, "not_found_error"),
        (Kind.USAGE_UNKNOWN, 404, "not_found_error"),
        (Kind.REQUEST_TOO_LARGE, 413, "request_too_large"),
        (Kind.RATE_LIMITED, 429, "rate_limit_error"),
        (Kind.UPSTREAM_THROTTLED, 429, "rate_limit_error"),
        (Kind.UPSTREAM_OVERLOADED, 529, "overloaded_error"),
        (Kind.NOT_IMPLEMENTED, 501, "not_implemented_error"),
        (Kind.UPSTREAM_FAILED, 502, "upstream_error"),
        (Kind.UPSTREAM_TIMEOUT, 504, "timeout_error"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_other_errors_are_the_same_for_every_brand(name: str, kind: Kind, status: int, type_: str) -> None:
    told = error(name, kind, "anthropic")
    assert (told["status"], told["type"]) == (status, type_)


@pytest.mark.parametrize("name", NAMES)
def test_a_defect_of_ours_is_500(name: str) -> None:
    told = error(name, Kind.INTERNAL, "anthropic")
    assert (told["status"], told["type"]) == (500, "internal_error" if name == "cheap" else "api_error")


@pytest.mark.parametrize(("kind", "api", "name"), list(product(Kind, APIS, NAMES)))
def test_every_kind_has_its_form_in_every_api_of_every_example(kind: Kind, api: Api, name: str) -> None:
    told = error(name, kind, api)
    assert told["message"] == "why not (request id: req_1)"


# ---- the form ----


def test_a_file_says_every_field() -> None:
    text = (FOLDER / "buzz.toml").read_text(encoding="utf-8")
    brand = parse(text)
    assert brand.top_ups == [auth_pb2.TOP_UP_VOUCHER, auth_pb2.TOP_UP_CARD]
    assert (brand.reveal, brand.unknown_model_status) == (True, 503)
    assert brand.error_codes["model_unknown"] == "model_not_found"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "not TOML"),
        ("hosts = []", "name: is missing"),
        ('name = "x"\nname = "y"', "not TOML"),
        ('name = "x"\nhost = "a"', "host: is no field of a brand"),
        ('name = "x"\nhosts = "a"', "hosts: must be a list of texts"),
        ('name = "x"\nhosts = [1]', "hosts: must be a list of texts"),
        ("name = 3", "name: must be a text"),
        ('name = "x"\nreveal = 1', "reveal: must be true or false"),
        ('name = "x"\ndefault_max_tokens = true', "default_max_tokens: must be a whole number"),
        ('name = "x"\ndefault_max_tokens = 1.5', "default_max_tokens: must be a whole number"),
        ('name = "x"\ndefault_max_tokens = -1', "default_max_tokens: must be a whole number"),
        ('name = "x"\ndefault_max_tokens = 4294967296', "default_max_tokens: must be a whole number"),
        ('name = "x"\nerror_types = "y"', "error_types: must be a table of texts"),
        ('name = "x"\n[error_types]\nkey_unknown = 1', "error_types: must be a table of texts"),
        ('name = "x"\ntop_ups = ["cash"]', "top_ups: 'cash' is none of voucher, card, crypto"),
        ('name = "x"\ntop_ups = ["unspecified"]', "top_ups: 'unspecified' is none of"),
    ],
)
def test_a_fault_names_the_field(text: str, said: str) -> None:
    with pytest.raises(Faults) as faults:
        parse(text)
    assert said in str(faults.value)


def test_all_faults_are_told_together() -> None:
    with pytest.raises(Faults) as faults:
        parse("reveal = 1\ncolour = 2")
    assert [line.partition(":")[0] for line in str(faults.value).splitlines()] == ["reveal", "colour", "name"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    st.builds(
        auth_pb2.Brand,
        name=TEXT,
        hosts=st.lists(TEXT, max_size=3),
        reveal=st.booleans(),
        mask=TEXT,
        error_types=st.dictionaries(TEXT, TEXT, max_size=3),
        error_codes=st.dictionaries(TEXT, TEXT, max_size=3),
        unknown_model_status=st.integers(0, 2**32 - 1),
        top_ups=st.lists(st.sampled_from([number for number in auth_pb2.TopUp.values() if number]), max_size=3),
        is_default=st.booleans(),
    )
)
def test_what_is_rendered_is_parsed_back(brand: auth_pb2.Brand) -> None:
    assert parse(render(brand)) == brand
