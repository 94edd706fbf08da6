"""Unit tests of services.edge.dialects.errors: every kind, in every API, for every brand."""

import json
from itertools import product
from typing import Any

import pytest
from anthropic.types.shared import ErrorResponse

from services.edge.brand import BUILT_IN, Brand
from services.edge.dialects import errors
from services.edge.dialects.errors import APIS, Api
from services.shared.errors import Blame, Kind, Refusal

KEY_KINDS = ("key_missing", "key_conflict", "key_unknown", "key_expired")
BARE = Brand(
    name="bare",
    bare_errors=True,
    unknown_model_status=503,
    error_types={**dict.fromkeys(KEY_KINDS, "house_error"), "model_unknown": "house_error"},
    openai_error_types={"model_unknown": "house_error"},
    error_codes={"model_unknown": "no_such_model"},
)
RENAMED = Brand(
    name="renamed",
    error_types={kind.label: f"house_{kind.label}" for kind in Kind},
    openai_error_types={kind.label: f"open_{kind.label}" for kind in Kind},
    error_codes={kind.label: f"code_{kind.label}" for kind in Kind},
)
BRANDS = (BUILT_IN, BARE, RENAMED)
CELLS = list(product(Kind, APIS, BRANDS))
NOT_OURS_TO_TELL = ("sk-ant-upstream", "https://api.example", "anthropic-main")


def body_of(refusal: Refusal, api: Api, brand: Brand = BUILT_IN) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(errors.answer(refusal, api, brand, "req_1")[2])
    return body


def headers_of(refusal: Refusal, brand: Brand = BUILT_IN) -> dict[bytes, bytes]:
    found = {tuple(errors.answer(refusal, api, brand, "req_1")[1]) for api in APIS}
    assert len(found) == 1  # whatever the API
    return dict(found.pop())


@pytest.mark.parametrize(
    ("kind", "api", "brand"), CELLS, ids=[f"{kind.label}-{api}-{brand.name}" for kind, api, brand in CELLS]
)
def test_every_kind_has_its_form_in_every_api_of_every_brand(kind: Kind, api: Api, brand: Brand) -> None:
    refusal = Refusal(
        kind, "why not", credential=NOT_OURS_TO_TELL[0], base_url=NOT_OURS_TO_TELL[1], account=NOT_OURS_TO_TELL[2]
    )
    status, headers, body = errors.answer(refusal, api, brand, "req_1")
    assert status == (brand.unknown_model_status if kind is Kind.MODEL_UNKNOWN else kind.http_status)
    assert (b"content-type", b"application/json") in headers
    error = json.loads(body)["error"]
    assert error["message"] == "why not (request id: req_1)"
    assert all(value or name == "param" for name, value in error.items())
    event = errors.event(refusal, api, brand, "req_1", mid_event=False)
    assert event.endswith(b"data: " + body + b"\n\n")
    for secret in NOT_OURS_TO_TELL:
        assert secret.encode() not in body + event


# ---- shapes ----


@pytest.mark.parametrize("kind", Kind)
def test_anthropics_shape_is_what_its_sdk_reads(kind: Kind) -> None:
    body = body_of(Refusal(kind, "why not"), "anthropic")
    assert body.keys() == {"type", "error", "request_id"}
    ours = {"upstream_error", "request_too_large", "not_implemented_error"}
    if body["error"]["type"] not in ours:
        assert not ErrorResponse.model_validate_json(json.dumps(body), strict=True).model_extra
    assert body["error"].keys() == {"type", "message"}


@pytest.mark.parametrize("kind", Kind)
def test_openais_shape_has_four_fields(kind: Kind) -> None:
    body = body_of(Refusal(kind, "why not", param="messages"), "openai")
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["param"] == "messages"
    assert body_of(Refusal(kind, "why not"), "openai")["error"]["param"] is None


@pytest.mark.parametrize(("kind", "brand"), list(product(Kind, BRANDS)))
def test_geminis_shape_says_the_status_it_comes_with(kind: Kind, brand: Brand) -> None:
    refusal = Refusal(kind, "why not")
    status, _, body = errors.answer(refusal, "gemini", brand, "req_1")
    error = json.loads(body)["error"]
    assert error.keys() == {"code", "message", "status"}
    assert error["code"] == status
    assert error["status"].isupper()


@pytest.mark.parametrize(
    ("kind", "type_", "code"),
    [
        (Kind.INVALID_REQUEST, "invalid_request_error", "invalid_request"),
        (Kind.KEY_UNKNOWN, "invalid_request_error", "invalid_api_key"),
        (Kind.BALANCE_EXHAUSTED, "insufficient_quota", "insufficient_quota"),
        (Kind.MODEL_UNKNOWN, "invalid_request_error", "model_not_found"),
        (Kind.RATE_LIMITED, "rate_limit_error", "rate_limit_exceeded"),
        (Kind.INTERNAL, "server_error", "internal"),
    ],
)
def test_openais_types_and_codes_are_its_own(kind: Kind, type_: str, code: str) -> None:
    error = body_of(Refusal(kind, "why not"), "openai")["error"]
    assert (error["type"], error["code"]) == (type_, code)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.blame is not Blame.CLIENT])
def test_openais_shape_never_calls_a_fault_that_is_not_the_clients_an_invalid_request(kind: Kind) -> None:
    assert body_of(Refusal(kind, "why not"), "openai")["error"]["type"] != "invalid_request_error"


@pytest.mark.parametrize("kind", [Kind.BALANCE_EXHAUSTED, Kind.KEY_CAP_EXHAUSTED])
def test_geminis_clients_are_not_made_to_wait_for_money(kind: Kind) -> None:
    assert body_of(Refusal(kind, "why not"), "gemini")["error"]["status"] == "FAILED_PRECONDITION"


# ---- brands ----


def test_a_brands_words_stand_for_the_usual_ones() -> None:
    for kind in Kind:
        refusal = Refusal(kind, "why not")
        anthropic = body_of(refusal, "anthropic", RENAMED)["error"]
        openai = body_of(refusal, "openai", RENAMED)["error"]
        assert (anthropic["type"], anthropic["code"]) == (f"house_{kind.label}", f"code_{kind.label}")
        assert (openai["type"], openai["code"]) == (f"open_{kind.label}", f"code_{kind.label}")


def test_what_a_program_knows_a_fault_by_is_told_where_anthropic_tells_it() -> None:
    refusal = Refusal(Kind.INVALID_REQUEST, "no threads", error_code="thread_unsupported_request")
    told = errors.error_object(refusal, "anthropic", BRANDS[0], "req_1")["error"]
    assert told["details"] == {"error_code": "thread_unsupported_request"}


def test_a_bare_error_has_nothing_beside_it() -> None:
    body = body_of(Refusal(Kind.MODEL_UNKNOWN, "no such model"), "anthropic", BARE)
    message = "no such model (request id: req_1)"
    assert body == {"error": {"type": "house_error", "code": "no_such_model", "message": message}}


def test_what_an_upstream_said_itself_is_passed_on_in_anthropics_shape_only() -> None:
    refusal = Refusal(Kind.UPSTREAM_FAILED, "broke", upstream_error_type="api_error")
    assert body_of(refusal, "anthropic", RENAMED)["error"]["type"] == "api_error"
    assert body_of(refusal, "openai")["error"]["type"] == "server_error"


# ---- headers ----


@pytest.mark.parametrize("kind", Kind)
def test_headers_say_whether_and_when_to_ask_again(kind: Kind) -> None:
    headers = headers_of(Refusal(kind, "why not"))
    assert headers.get(b"x-should-retry") == (b"false" if kind.http_status in (401, 402, 403) else None)
    assert (b"retry-after" in headers) == (kind.http_status in (429, 503, 529))


def test_an_exact_wait_is_told_in_milliseconds_and_rounded_up_to_seconds() -> None:
    headers = headers_of(Refusal(Kind.RATE_LIMITED, "slow", retry_after_ms="1001"))
    assert (headers[b"retry-after"], headers[b"retry-after-ms"]) == (b"2", b"1001")


@pytest.mark.parametrize("said", ["", "-5", "soon", "1.5", "\u00b2"])
def test_a_wait_that_is_no_number_is_the_usual_one(said: str) -> None:
    headers = headers_of(Refusal(Kind.RATE_LIMITED, "slow", retry_after_ms=said))
    assert headers[b"retry-after"] == b"5"
    assert b"retry-after-ms" not in headers


def test_a_model_that_is_unknown_with_503_may_be_asked_for_again() -> None:
    assert b"retry-after" in headers_of(Refusal(Kind.MODEL_UNKNOWN, "none"), BARE)
    assert b"retry-after" not in headers_of(Refusal(Kind.MODEL_UNKNOWN, "none"))


# ---- events ----


def test_only_anthropics_events_have_a_name() -> None:
    refusal = Refusal(Kind.UPSTREAM_FAILED, "broke\nin two")
    for api in APIS:
        lines = errors.event(refusal, api, BUILT_IN, "req_1", mid_event=False).split(b"\n")
        assert lines[:-3] == ([b"event: error"] if api == "anthropic" else [])
        assert json.loads(lines[-3].removeprefix(b"data: ")) == body_of(refusal, api)
        assert lines[-2:] == [b"", b""]


@pytest.mark.parametrize("api", APIS)
def test_an_error_event_stands_apart_from_an_event_that_was_cut(api: Api) -> None:
    refusal = Refusal(Kind.UPSTREAM_FAILED, "broke")
    whole = errors.event(refusal, api, BUILT_IN, "req_1", mid_event=False)
    assert errors.event(refusal, api, BUILT_IN, "req_1", mid_event=True) == b"\n\n" + whole
