"""Unit tests of services.edge.dialects.openai."""

import json

import pytest
from openai.types import Model

from services.edge.brand import BUILT_IN, Brand
from services.edge.dialects import openai
from tollhouse.v1 import router_pb2

OPUS = router_pb2.Model(model="claude-opus", display_name="Opus", created_ms=1_790_000_000_999)
LISTED = {"id": "claude-opus", "object": "model", "created": 1_626_777_600, "owned_by": "anthropic"}


def test_models_are_listed_in_openais_shape() -> None:
    assert openai.model_object(OPUS, BUILT_IN) == LISTED
    assert openai.model_list([OPUS], BUILT_IN) == {"object": "list", "data": [LISTED]}
    assert openai.model_list([], BUILT_IN) == {"object": "list", "data": []}
    assert not Model.model_validate_json(json.dumps(LISTED), strict=True).__pydantic_extra__


def test_some_brands_say_that_it_was_a_success_and_in_whose_apis_each_model_speaks() -> None:
    brand = Brand(model_list_extras=True)
    listed = LISTED | {"supported_endpoint_types": ["anthropic", "openai"]}
    assert openai.model_list([OPUS], brand) == {"success": True, "object": "list", "data": [listed]}
    assert openai.model_object(OPUS, brand) == listed


@pytest.mark.parametrize(
    ("model", "owner"),
    [
        ("openai/gpt-5.2", "openai"),
        ("meta/llama", "meta"),
        ("o3-mini", "openai"),
        ("gemini-3", "google"),
        ("x", "custom"),
    ],
)
def test_a_model_belongs_to_who_makes_models_of_such_names(model: str, owner: str) -> None:
    assert openai.maker(model) == owner
