"""Unit tests of services.edge.apis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.apis import ENDPOINTS, Api, canonical_path, endpoint_types
from tollhouse.v1 import router_pb2

SEGMENTS = st.sampled_from(["v1", "v1beta", "api", "proxy", "models", "messages", "", "v10", "openai"])


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/v1/v1/models", "/v1/models"),
        ("/v1/v1/v1/models/openai/gpt-5.2", "/v1/models/openai/gpt-5.2"),
        ("/api/proxy/v1/usage", "/v1/usage"),
        ("/api/proxy/v1/v1/usage", "/v1/usage"),
        ("/api/proxy/v1beta/models", "/v1beta/models"),
        ("/v1/v1beta/models", "/v1beta/models"),
        ("/v1beta/v1/models", "/v1/models"),
        ("//v1/messages", "/v1/messages"),
        ("/v1/models/", "/v1/models"),
        ("/api/proxy", "/"),
        ("/api/proxy/", "/"),
        ("/", "/"),
        ("", "/"),
        ("/v1/v10/models", "/v1/v10/models"),
        ("/api/proxying/v1/models", "/api/proxying/v1/models"),
        ("/v1/models/v1/v1", "/v1/models/v1/v1"),
    ],
)
def test_what_base_urls_add_to_a_path_is_taken_away(path: str, canonical: str) -> None:
    assert canonical_path(path) == canonical


@given(st.lists(SEGMENTS).map("/".join))
def test_a_canonical_path_is_absolute_and_has_no_second_version(path: str) -> None:
    canonical = canonical_path(path)
    assert canonical.startswith("/")
    assert canonical.split("/")[2:3] not in (["v1"], ["v1beta"]) or canonical.split("/")[1] not in ("v1", "v1beta")


def test_every_endpoint_is_found_by_its_canonical_path_too() -> None:
    assert {canonical_path(path) for path in ENDPOINTS} == {api.value for api in Api}
    assert all(ENDPOINTS[canonical_path(path)] is api for path, api in ENDPOINTS.items())


def test_a_model_can_be_talked_to_in_the_apis_that_some_kind_answers() -> None:
    for kind in set(router_pb2.UpstreamKind.values()) - {router_pb2.UPSTREAM_KIND_UNSPECIFIED}:
        assert endpoint_types([kind]) == ["anthropic", "openai"]


def test_a_kind_of_a_newer_router_answers_nobody() -> None:
    assert endpoint_types([77]) == []  # type: ignore[list-item]
    assert endpoint_types([77, router_pb2.UPSTREAM_KIND_OPENAI]) == ["anthropic", "openai"]  # type: ignore[list-item]


def test_an_older_router_does_not_tell_kinds() -> None:
    assert endpoint_types([]) == ["anthropic", "openai"]
