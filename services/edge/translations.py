"""Which module translates between which APIs; each is loaded when it is first needed."""

import importlib
from collections.abc import Mapping
from typing import Final

from services.edge.apis import Api
from services.edge.passages import Translate

_MODULES: Final[Mapping[tuple[Api, Api], str]] = {
    (Api.CHAT, Api.MESSAGES): "openai_anthropic",
    (Api.MESSAGES, Api.CHAT): "anthropic_openai",
    (Api.RESPONSES, Api.MESSAGES): "responses_anthropic",
    (Api.RESPONSES, Api.CHAT): "responses_openai",
}


def translation(client: Api, upstream: Api) -> Translate:
    """The Translation for a client of one API and an upstream of another."""
    module = importlib.import_module(f"services.edge.dialects.{_MODULES[client, upstream]}")
    translate: Translate = module.Translation
    return translate
