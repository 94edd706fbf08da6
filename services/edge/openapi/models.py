"""Schemas of model lists, in the shapes of three APIs.

Shapes: https://docs.anthropic.com/en/api/models-list, https://platform.openai.com/docs/api-reference/models and
https://ai.google.dev/api/models.
"""

from services.edge.brand import Brand
from services.edge.openapi.schema import (
    BOOLEAN,
    INSTANT,
    INTEGER,
    STRING,
    Schema,
    array,
    closed,
    either,
    of,
    or_null,
)


def schemas(brand: Brand) -> dict[str, Schema]:
    """What the brand's clients get, by name."""
    openai_model: dict[str, Schema] = {
        "id": STRING,
        "object": {"const": "model"},
        "created": INTEGER,
        "owned_by": STRING,
    }
    openai_list: dict[str, Schema] = {"object": {"const": "list"}, "data": array(of("OpenAIModel"))}
    if brand.model_list_extras:
        openai_model["supported_endpoint_types"] = array(STRING)
        openai_list["success"] = BOOLEAN
    anthropic_model: dict[str, Schema] = {
        "type": {"const": "model"},
        "id": STRING,
        "display_name": STRING,
        "created_at": INSTANT,
        "lifecycle": {"const": "active"},
    }
    gemini_model = {"name": STRING, "displayName": STRING, "supportedGenerationMethods": array(STRING)}
    return {
        "OpenAIModel": closed(openai_model),
        "OpenAIModelList": closed(openai_list),
        "AnthropicModel": closed(anthropic_model),
        "AnthropicModelList": closed(
            {
                "data": array(of("AnthropicModel")),
                "first_id": or_null(STRING),
                "last_id": or_null(STRING),
                "has_more": BOOLEAN,
            }
        ),
        "GeminiModel": closed(gemini_model),
        "GeminiModelList": closed({"models": array(of("GeminiModel")), "nextPageToken": or_null(STRING)}),
        "Model": either(of("OpenAIModel"), of("AnthropicModel"), of("GeminiModel")),
        "ModelList": either(of("OpenAIModelList"), of("AnthropicModelList"), of("GeminiModelList")),
    }
