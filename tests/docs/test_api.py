"""docs/API.md names every endpoint, and no others, and the headers that the code handles."""

import re
from types import SimpleNamespace
from typing import Any, cast

from starlette.applications import Starlette
from starlette.routing import Route

from services.edge import answer_head, app, browsers, head
from services.edge.brand import BUILT_IN
from services.edge.dialects import anthropic, openai, upstream_errors
from services.shared import principal, web
from services.shared.metrics import Exposition
from tests.docs.pages import headings, in_code, page
from tollhouse.v1 import auth_pb2, billing_pb2, ledger_pb2, router_pb2, tokens_pb2, usage_pb2

API = page("API.md")


def endpoints(starlette: Starlette) -> set[str]:
    """Method and path of each route; HEAD goes with GET."""
    found = set()
    for route in starlette.routes:
        assert isinstance(route, Route)
        path = re.sub(r":\w+}", "}", route.path)
        found |= {f"{method} {path}" for method in (route.methods or set()) - {"HEAD"}}
    return found


def test_the_page_names_exactly_the_endpoints_that_there_are() -> None:
    of_usage = ("every", "one", "delete", "summary", "balance", "receipt", "receipt_keys")
    names = (*of_usage, "subscription", "billing_usage", "token")
    nothing = cast(Any, SimpleNamespace(**dict.fromkeys(names)))
    served = endpoints(app._routes(nothing, nothing, nothing)) | endpoints(
        web.ops_routes(lambda: True, Exposition("edge"))
    )
    said = {heading for heading in headings(API) if re.match(r"(GET|POST|PUT|PATCH|DELETE) /", heading)}
    assert said == served


def test_every_request_header_that_is_read_or_goes_upstream_is_named() -> None:
    for name in {*head._ACTIONS, *head._OURS} - {b"x-stainless-retry-count"}:
        assert f"`{name.decode()}`" in API
    for prefix in head._PREFIXES:
        assert f"`{prefix.decode()}*`" in API


def test_every_response_header_that_comes_back_is_named() -> None:
    for name in answer_head._PASSED_BACK | {b"retry-after"}:
        assert f"`{name.decode()}`" in API


def test_every_header_of_ours_is_named() -> None:
    told = [*browsers.preflight_headers(), *browsers.answer_headers(BUILT_IN)]
    named = {word for code in in_code(API) for word in code.replace(":", " ").replace(",", " ").split()}
    limits = {*anthropic.LIMIT_HEADERS, *openai.LIMIT_HEADERS}
    for name in {name for name, _ in told} | {*browsers._EXPOSED} - limits:
        assert name.decode() in named
    for limit in limits:  # the first of the three headers of a limit is named in full
        assert re.search(rf"`{re.escape(_first_of(limit.decode()))}`", API), limit


def _first_of(limit: str) -> str:
    """The header of a limit's amount, beside which its other two are named by what differs."""
    if limit.startswith("anthropic-"):
        return limit.rpartition("-")[0] + "-limit"
    return re.sub("-(remaining|reset)-", "-limit-", limit)


def test_every_form_of_a_key_is_named() -> None:
    for form in ("Authorization: Bearer KEY", "x-api-key: KEY", "x-goog-api-key: KEY", "?key=KEY"):
        assert f"`{form}`" in API


def test_every_key_prefix_is_named() -> None:
    for prefix in principal.KNOWN_PREFIXES:
        assert f"`{prefix}`" in API


def test_every_status_of_an_upstream_that_is_not_the_clients_fault_is_named() -> None:
    not_passed_on = re.search(r"\(4xx, but for ([\d,\s]+)\)", API)
    assert not_passed_on is not None
    assert {int(status) for status in not_passed_on[1].split(",")} == upstream_errors._OUTCOMES_OF_STATUS.keys() - {529}


def test_every_field_of_usage_is_in_the_example() -> None:
    from services.edge.dialects.tollhouse import _STATUS, balance_object, usage_object

    usage = usage_object(usage_pb2.Usage(attempts_detail=[usage_pb2.UsageAttempt()]))
    for name in [*usage, *usage["attempts_detail"][0], *balance_object(0, 0)]:
        assert f'"{name}"' in API or f"`{name}`" in API
    for name in usage:
        assert f'"{name}"' in API
    for status in _STATUS.values():
        assert f"`{status}`" in API


def test_every_grpc_service_is_named() -> None:
    for pb2 in (auth_pb2, billing_pb2, ledger_pb2, router_pb2, tokens_pb2, usage_pb2):
        for service in pb2.DESCRIPTOR.services_by_name.values():
            assert f"`{service.full_name}`" in API
    for method in usage_pb2.DESCRIPTOR.services_by_name["UsageService"].methods:
        assert f"`{method.name}`" in API
