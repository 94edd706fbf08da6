"""The OpenAPI document says what there is: routes, parameters, errors, fields."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from openapi_spec_validator import validate

from services.edge import app
from services.edge.apis import Api
from services.edge.brand import BUILT_IN, Brand
from services.edge.dialects import anthropic, gemini, new_api, openai, tollhouse
from services.edge.openapi import failures
from services.edge.openapi.document import document, servers
from services.edge.openapi.operations import SECURITY, failures_of_all
from services.edge.shapes import honours_google_keys
from services.shared.errors import Kind
from tests.docs.test_api import endpoints
from tollhouse.v1 import auth_pb2, router_pb2, usage_pb2

BUZZ = Brand(name="buzz", base_paths=("/v1", "/v1beta"), bare_errors=True, unknown_model_status=503)
CHEAP = Brand(name="cheap", base_paths=("/api/proxy/v1", "/v1"), default_max_tokens=4096)
EXTRAS = Brand(name="extras", model_list_extras=True, google_keys_on_models=False)
CC = Brand(name="cc", request_id_header="X-CC-Request-Id", upstream_account_id_header="X-CC-Account-Id")
BRANDS = (BUILT_IN, BUZZ, CHEAP, EXTRAS, CC)
DOCUMENT = document(BUILT_IN)
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
OF_SERVICE_CALLS = {
    Kind.TOKEN_MISSING,
    Kind.TOKEN_UNKNOWN,
    Kind.TOKEN_SCOPE,
    Kind.CALLER_FORBIDDEN,
    Kind.NOT_FOUND,
    Kind.VOUCHER_UNKNOWN,
    Kind.VOUCHER_SPENT,
    Kind.WATCHERS_FULL,
}
"""Kinds that only calls between services and of operators end in."""
OF_NO_OPERATION = {Kind.METHOD_NOT_ALLOWED}


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][name]
    return found


def references(node: Any) -> set[str]:
    """Every reference in a part of the document."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


@pytest.mark.parametrize("brand", BRANDS, ids=lambda brand: brand.name)
def test_every_brands_document_is_a_valid_openapi_document(brand: Brand) -> None:
    validate(document(brand))


def test_it_has_exactly_the_routes_and_methods_that_there_are() -> None:
    class Anything(SimpleNamespace):
        def __getattr__(self, name: str) -> None:
            return None

    nothing = cast(Any, Anything())
    assert OPERATIONS.keys() == endpoints(app._routes(nothing, nothing, nothing))


def test_no_component_is_without_use() -> None:
    kept = {
        f"#/components/{kind}/{name}"
        for kind in ("responses", "schemas", "headers")
        for name in DOCUMENT["components"][kind]
    }
    assert references(DOCUMENT) == kept
    used = {name for operation in OPERATIONS.values() for needed in operation["security"] for name in needed}
    assert used == SECURITY.keys()


def test_every_kind_of_error_is_an_answer_of_some_operation() -> None:
    described = {kind for ways in failures_of_all() for kind in ways.kinds}
    assert described | OF_SERVICE_CALLS | OF_NO_OPERATION == set(Kind)
    assert not described & (OF_SERVICE_CALLS | OF_NO_OPERATION)
    statuses = {int(status) for operation in OPERATIONS.values() for status in operation["responses"]}
    assert {kind.http_status for kind in Kind} | set(failures.PASSED_ON) | {200} == statuses


@pytest.mark.parametrize("api", Api)
def test_whatever_is_relayed_may_end_in_every_status_that_a_request_can_end_in(api: Api) -> None:
    answers = OPERATIONS[f"POST {api.value}"]["responses"]
    kinds = set(Kind) - OF_SERVICE_CALLS - OF_NO_OPERATION - {Kind.USAGE_UNKNOWN, Kind.NOT_IMPLEMENTED}
    assert {str(kind.http_status) for kind in kinds} <= answers.keys()
    shape = "AnthropicError" if api.dialect == "anthropic" else "OpenAIError"
    for status, answer in answers.items():
        if status != "200":
            component = DOCUMENT["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
            found = references(component["content"])
            assert found <= {f"#/components/schemas/{shape}", f"#/components/schemas/Upstream{shape}"}


@pytest.mark.parametrize("brand", BRANDS, ids=lambda brand: brand.name)
def test_errors_tell_the_request_id_and_those_to_be_repeated_when(brand: Brand) -> None:
    for name, answer in document(brand)["components"]["responses"].items():
        status = int(name[-3:])
        assert "x-request-id" in answer["headers"], name
        assert ("retry-after" in answer["headers"]) == (status in (429, 503, 529)), name
        assert ("x-should-retry" in answer["headers"]) == (status in (401, 402, 403)), name


def test_usage_has_the_fields_that_are_answered() -> None:
    usage = tollhouse.usage_object(usage_pb2.Usage(attempts_detail=[usage_pb2.UsageAttempt()]))
    assert schema("Usage")["properties"].keys() == usage.keys()
    attempt = schema("Usage")["properties"]["attempts_detail"]["items"]
    assert attempt["properties"].keys() == usage["attempts_detail"][0].keys()
    assert schema("Balance")["properties"].keys() == tollhouse.balance_object(0, 0).keys()
    keys = tollhouse.receipt_keys([usage_pb2.ReceiptKey(kid="k", public_key=b"k")])
    assert schema("ReceiptKeys")["properties"]["keys"]["items"]["properties"].keys() == keys["keys"][0].keys()


def test_what_a_key_asks_about_itself_has_the_fields_that_are_answered() -> None:
    key, funds = auth_pb2.Key(), new_api.Funds(spent_nano=0, left_nano=0)
    for name, answered in (
        ("BillingSubscription", new_api.subscription(key, funds)),
        ("BillingUsage", new_api.billing_usage(funds)),
        ("TokenUsage", new_api.token_usage(key, funds)),
    ):
        assert schema(name)["properties"].keys() == answered.keys()
    data = new_api.token_usage(key, funds)["data"]
    assert schema("TokenUsage")["properties"]["data"]["properties"].keys() == data.keys()


def test_sums_have_the_fields_that_are_answered() -> None:
    asked = tollhouse.summary_question({"group": "key,model"}, "t")
    summary = usage_pb2.SummarizeUsageResponse(buckets=[usage_pb2.UsageBucket()])
    bucket = tollhouse.usage_summary(asked, summary)["data"][0]
    assert schema("UsageSummary")["properties"]["data"]["items"]["properties"].keys() == bucket.keys()


def test_queries_have_the_parameters_that_are_read() -> None:
    for path, read in (
        ("/v1/usage", tollhouse.LIST_PARAMETERS),
        ("/v1/usage/summary", tollhouse.SUMMARY_PARAMETERS),
    ):
        assert {parameter["name"] for parameter in OPERATIONS[f"GET {path}"]["parameters"]} == set(read)


@pytest.mark.parametrize("brand", BRANDS, ids=lambda brand: brand.name)
def test_model_lists_have_the_fields_that_are_answered(brand: Brand) -> None:
    schemas = document(brand)["components"]["schemas"]
    for name, dialect in (("OpenAI", openai), ("Anthropic", anthropic), ("Gemini", gemini)):
        listed = dialect.model_list([router_pb2.Model(model="m")], brand)
        assert schemas[f"{name}ModelList"]["properties"].keys() == listed.keys()
        model = dialect.model_object(router_pb2.Model(model="m"), brand)
        assert schemas[f"{name}Model"]["properties"].keys() == model.keys()


@pytest.mark.parametrize("brand", BRANDS, ids=lambda brand: brand.name)
def test_googles_keys_are_told_where_they_are_honoured(brand: Brand) -> None:
    for path, methods in document(brand)["paths"].items():
        for operation in methods.values():
            told = {"googleKey": []} in operation["security"]
            assert told == bool(operation["security"] and honours_google_keys(path, brand)), path


def test_a_brands_document_is_in_its_own_words() -> None:
    assert servers(BUILT_IN) == ["/"]
    assert servers(BUZZ) == ["/"]
    assert servers(CHEAP) == ["/api/proxy", "/"]
    assert "max_tokens" in schema("MessagesRequest")["required"]
    assert "max_tokens" not in document(CHEAP)["components"]["schemas"]["MessagesRequest"]["required"]
    unknown = document(BUZZ)["components"]["responses"]["Messages503"]["content"]["application/json"]["examples"]
    assert unknown["model_unknown"]["value"].keys() == {"error"}
    extras = document(EXTRAS)
    assert "success" in extras["components"]["schemas"]["OpenAIModelList"]["required"]


def test_a_brands_own_headers_are_told() -> None:
    described = document(CC)
    for methods in described["paths"].values():
        for operation in methods.values():
            for answer in operation["responses"].values():
                name = answer["$ref"].rsplit("/", 1)[1] if "$ref" in answer else ""
                said = described["components"]["responses"][name] if name else answer
                assert "x-cc-request-id" in said["headers"]
    answered = described["paths"]["/v1/messages"]["post"]["responses"]["200"]["headers"]
    assert "x-cc-account-id" in answered
    assert {name.decode() for name in anthropic.LIMIT_HEADERS} <= answered.keys()


def test_every_path_parameter_is_declared() -> None:
    for where, operation in OPERATIONS.items():
        declared = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", where))
