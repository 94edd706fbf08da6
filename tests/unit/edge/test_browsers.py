"""Unit tests of services.edge.browsers."""

from services.edge import head
from services.edge.answer_head import _PASSED_BACK
from services.edge.apis import Api
from services.edge.brand import BUILT_IN, Brand
from services.edge.browsers import ASKED_WITH, answer_headers, preflight_headers
from services.edge.dialects import errors
from services.edge.dialects.anthropic import estimated_count
from services.edge.dialects.speech import SPEECHES
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, types_pb2

SAFELISTED = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}
"""What pages may read unasked: https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name"""
NOT_A_PAGES = {b"content-encoding", b"content-length", b"connection", b"host", b"origin", b"x-simulator"}
"""What browsers say themselves, what is refused, and what is for tests."""


def exposed(brand: Brand = BUILT_IN) -> set[str]:
    return set(dict(answer_headers(brand))[b"access-control-expose-headers"].decode().split(", "))


def test_a_page_may_send_every_header_that_is_read_or_goes_upstream() -> None:
    assert {name.decode() for name in head._ACTIONS.keys() - NOT_A_PAGES} <= set(ASKED_WITH)
    assert {"content-type", "x-goog-api-key", "*"} <= set(ASKED_WITH)
    assert all(name == name.lower() for name in ASKED_WITH)


def test_no_credentials_are_allowed_since_every_origin_is() -> None:
    for headers in (preflight_headers(), answer_headers(BUILT_IN)):
        assert dict(headers)[b"access-control-allow-origin"] == b"*"
        assert b"access-control-allow-credentials" not in dict(headers)


def test_a_page_may_read_every_header_of_an_upstream_that_comes_back() -> None:
    assert {name.decode() for name in _PASSED_BACK} - SAFELISTED <= exposed()


def test_a_page_may_read_how_its_limits_stand() -> None:
    states = [auth_pb2.LimitState(metric=metric) for metric in types_pb2.LimitMetric.values() if metric in (1, 2, 3, 4)]
    for api in Api:
        said = {name.decode() for name, _ in SPEECHES[api].limit_headers(states, 0)}
        assert len(said) == 3 * len(states)
        assert said <= exposed()


def test_a_page_may_read_when_to_try_again_and_that_a_count_was_estimated() -> None:
    headers = [*estimated_count(1)[0]]
    for kind in Kind:
        headers += errors.retry_headers(Refusal(kind, "no", retry_after_ms="1500"), BUILT_IN)
    assert {name.decode() for name, _ in headers} - SAFELISTED <= exposed()


def test_a_page_may_read_the_brands_own_headers() -> None:
    brand = Brand(request_id_header="X-CC-Request-Id", upstream_account_id_header="X-CC-Account-Id")
    assert exposed(brand) - exposed() == {"x-cc-request-id", "x-cc-account-id"}
