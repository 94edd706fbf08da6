"""Unit tests of services.edge.dialects.gemini."""

from google.genai import types

from services.edge.brand import BUILT_IN
from services.edge.dialects import gemini
from tollhouse.v1 import router_pb2

MODEL = router_pb2.Model(model="openai/gpt-5.2", display_name="GPT")


def test_models_are_listed_on_one_page() -> None:
    listed = {"name": "models/openai/gpt-5.2", "displayName": "GPT", "supportedGenerationMethods": []}
    assert gemini.model_list([MODEL], BUILT_IN) == {"models": [listed], "nextPageToken": None}
    assert gemini.model_list([], BUILT_IN) == {"models": [], "nextPageToken": None}


def test_every_field_is_one_of_googles() -> None:
    ours = gemini.model_object(MODEL, BUILT_IN)
    ours["supportedActions"] = ours.pop("supportedGenerationMethods")  # what the SDK calls it
    assert types.Model.model_validate(ours, strict=True).name == "models/openai/gpt-5.2"
