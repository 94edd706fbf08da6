"""What every brand promises of model lists: three shapes, by headers and by path, of what the key may call now."""

from typing import Any

import pytest
from anthropic.types import ModelInfo
from google import genai
from google.genai.types import HttpOptions
from openai.types import Model

from tests.contract import shapes
from tests.contract.clients import driven
from tests.contract.house import BY_ANTHROPIC, BY_OPENAI, EMBEDDING, House
from tests.contract.refusals import told
from tests.deployment import MODEL, eventually
from tests.sdks import openai_sdk

EXTRA = "supported_endpoint_types"
MAKERS = {MODEL: "anthropic", BY_OPENAI: "openai"}
VERSION = {"anthropic-version": "2023-06-01"}
LISTED_IN_GEMINIS = ("/v1beta/models", "/v1beta/models?pageSize=1", "/v1/v1beta/models")


class Lists:
    """Inherited by each brand's tests."""

    def test_anthropics_sdk_lists_models_in_its_shape(self, house: House, key: str) -> None:
        raw = house.anthropic(key).models.with_raw_response.list(limit=1, after_id=MODEL, before_id=MODEL)
        said: dict[str, Any] = raw.http_response.json()
        ids = [shapes.whole(ModelInfo, shapes.encoded(model)).id for model in said["data"]]
        assert {MODEL, BY_ANTHROPIC, BY_OPENAI, EMBEDDING} <= {*ids}
        assert said == {"data": said["data"], "first_id": ids[0], "last_id": ids[-1], "has_more": False}
        assert all(model["display_name"] == model["id"] for model in said["data"])
        assert shapes.whole(ModelInfo, house.call("GET", f"/v1/models/{BY_OPENAI}", key, headers=VERSION).body)
        assert house.anthropic(key).models.retrieve(MODEL).id == MODEL

    def test_openais_sdk_lists_models_in_its_shape(self, house: House, key: str) -> None:
        raw = house.openai(key).models.with_raw_response.list()
        self.is_openais(house, raw.http_response.json())
        self.is_openais_model(house, house.call("GET", f"/v1/models/{BY_OPENAI}", key).json())
        assert house.openai(key).models.retrieve(MODEL).id == MODEL

    @pytest.mark.parametrize("headers", [{}, VERSION, {"x-goog-api-client": "gl-node/24"}])
    def test_one_path_is_always_in_openais_shape(self, house: House, key: str, headers: dict[str, str]) -> None:
        self.is_openais(house, house.call("GET", "/v1beta/openai/models", key, headers=headers).json())
        named = house.call("GET", f"/v1beta/openai/models/{MODEL}", key, headers=headers).json()
        self.is_openais_model(house, named)

    def test_openais_sdk_lists_models_at_geminis_base_url(self, house: House, key: str) -> None:
        url = f"{house.tollhouse.base_url}/v1beta/openai"
        client = openai_sdk(url, key, default_headers={"Host": house.host})
        assert MODEL in {model.id for model in client.models.list()}

    @pytest.mark.parametrize("path", LISTED_IN_GEMINIS)
    @pytest.mark.parametrize("headers", [{}, VERSION])
    def test_one_path_is_always_in_geminis_shape(
        self, house: House, key: str, path: str, headers: dict[str, str]
    ) -> None:
        said = house.call("GET", path, key, headers=headers).json()
        assert said.keys() == {"models", "nextPageToken"}
        assert {f"models/{MODEL}", f"models/{BY_OPENAI}"} <= {model["name"] for model in said["models"]}

    def test_googles_sdk_lists_models_in_its_shape(self, house: House, key: str) -> None:
        assert {f"models/{MODEL}", f"models/{BY_OPENAI}"} <= {*self.by_google(house, key, "v1beta")}

    def test_googles_sdk_at_the_shared_path_is_answered_where_the_brand_says_so(self, house: House, key: str) -> None:
        if house.promised.google_keys_on_models:
            assert f"models/{MODEL}" in self.by_google(house, key, "v1")
        else:
            with pytest.raises(genai.errors.ClientError) as refused:
                self.by_google(house, key, "v1")
            assert refused.value.code == 401

    def test_googles_node_sdk_lists_models_in_its_shape(self, house: House, key: str) -> None:
        assert f"models/{MODEL}" in driven("models.mjs", house.url, key)["models"]

    @pytest.mark.parametrize("bring", ["x-goog-api-key", "?key="])
    def test_googles_keys_are_honoured_on_model_lists_and_nowhere_else(
        self, house: House, key: str, bring: str
    ) -> None:
        headers, query = ({}, f"?key={key}") if bring == "?key=" else ({bring: key}, "")
        for path in ("/v1beta/models", "/v1beta/openai/models", f"/v1/models/{MODEL}"):
            assert house.call("GET", path + query, headers=headers).status == 200
        shared = house.call("GET", "/v1/models" + query, headers=headers)
        if house.promised.google_keys_on_models:
            assert shared.json().keys() == {"models", "nextPageToken"}
        else:
            told(house, "openai", "key", shared)
        told(house, "anthropic", "key", house.call("GET", "/v1/balance" + query, headers=headers))
        told(house, "anthropic", "key", house.call("POST", "/v1/messages" + query, headers=headers, body={}))

    def test_a_list_is_of_what_the_key_may_call_and_of_what_is_served(self, house: House, key: str) -> None:
        mine = house.tenant(models=[BY_ANTHROPIC]).key
        assert [model.id for model in house.anthropic(mine).models.list()] == [BY_ANTHROPIC]
        assert [model.id for model in house.openai(mine).models.list()] == [BY_ANTHROPIC]
        assert self.by_google(house, mine, "v1beta") == [f"models/{BY_ANTHROPIC}"]
        model = house.upstream("soon-gone", house.tollhouse.simulator_url)
        house.disable(model)
        client = house.anthropic(key)
        eventually(lambda: model not in {listed.id for listed in client.models.list()}, what=f"{model} is gone")

    def test_a_model_that_is_not_listed_is_told_as_the_brand_tells_it(self, house: House, key: str) -> None:
        told(house, "openai", "model_unknown", house.call("GET", "/v1/models/none/such", key))
        told(house, "anthropic", "model_unknown", house.call("GET", "/v1/models/none", key, headers=VERSION))

    def test_deleting_a_model_is_501(self, house: House, key: str) -> None:
        for headers, api in (({}, "openai"), (VERSION, "anthropic")):
            answer = house.call("DELETE", f"/v1/models/{MODEL}", key, headers=headers)
            told(house, api, "not_implemented", answer)  # type: ignore[arg-type]

    @staticmethod
    def by_google(house: House, key: str, version: str) -> list[str]:
        """The names that Google's SDK lists."""
        options = HttpOptions(base_url=house.tollhouse.base_url, api_version=version, headers={"Host": house.host})
        with genai.Client(api_key=key, http_options=options) as client:
            return [str(model.name) for model in client.models.list()]

    @staticmethod
    def is_openais(house: House, said: dict[str, Any]) -> None:
        """A list in OpenAI's shape, with the brand's extras."""
        extras = {"success": True} if house.promised.model_list_extras else {}
        assert said == extras | {"object": "list", "data": said["data"]}
        for model in said["data"]:
            Lists.is_openais_model(house, model)
        assert {MODEL, BY_ANTHROPIC, BY_OPENAI, EMBEDDING} <= {model["id"] for model in said["data"]}

    @staticmethod
    def is_openais_model(house: House, said: dict[str, Any]) -> None:
        """A model in OpenAI's shape, with the brand's extras."""
        model = Model.model_validate_json(shapes.encoded(said), strict=True)
        assert set(shapes.invented(model)) == ({f".{EXTRA}"} if house.promised.model_list_extras else set())
        if house.promised.model_list_extras:
            assert {"anthropic", "openai"} >= {*said[EXTRA]} > set()
        assert said["created"] == 1626777600
        assert said["owned_by"] == MAKERS.get(model.id, said["owned_by"])
