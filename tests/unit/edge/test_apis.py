"""Unit tests of services.edge.apis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.apis import ENDPOINTS, Api, UpstreamKind, canonical_path, endpoint_types, spoken_to
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


OPENROUTER = router_pb2.UPSTREAM_KIND_OPENROUTER


@pytest.mark.parametrize(
    ("kind", "api", "model", "spoken"),
    [
        (OPENROUTER, Api.RESPONSES, "anthropic/claude-sonnet-4.6", Api.MESSAGES),
        (OPENROUTER, Api.RESPONSES, "openai/gpt-5.2", Api.CHAT),
        (OPENROUTER, Api.MESSAGES, "openai/gpt-5.2", Api.MESSAGES),
        (OPENROUTER, Api.CHAT, "anthropic/claude-sonnet-4.6", Api.CHAT),
        (router_pb2.UPSTREAM_KIND_ANTHROPIC, Api.RESPONSES, "claude-sonnet-4-6", Api.MESSAGES),
        (router_pb2.UPSTREAM_KIND_GEMINI_OPENAI, Api.MESSAGES, "gemini-3-pro", Api.CHAT),
    ],
)
def test_an_account_that_speaks_several_apis_is_asked_in_that_of_the_models_maker(
    kind: UpstreamKind, api: Api, model: str, spoken: Api
) -> None:
    assert spoken_to(kind, api, model) is spoken


def test_what_cannot_be_asked_for_in_any_api_is_not_translated() -> None:
    with pytest.raises(LookupError):
        spoken_to(router_pb2.UPSTREAM_KIND_ANTHROPIC, Api.EMBEDDINGS)
