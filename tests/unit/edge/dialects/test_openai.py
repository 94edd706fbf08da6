"""Unit tests of services.edge.dialects.openai."""

from services.edge.dialects import openai
from tollhouse.v1 import router_pb2


def test_models_are_listed_in_openais_shape() -> None:
    model = router_pb2.Model(model="claude-opus", display_name="Opus", created_ms=1_790_000_000_999)
    expected = {"id": "claude-opus", "object": "model", "created": 1_790_000_000, "owned_by": "anthropic"}
    assert openai.model_object(model) == expected
    assert openai.model_list([model]) == {"object": "list", "data": [expected]}
    assert openai.model_list([]) == {"object": "list", "data": []}
