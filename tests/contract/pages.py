"""What every brand promises beside its APIs: the words of refusals on every route, and pages of other origins."""

import pytest

from tests.contract.house import House
from tests.contract.promised import Api
from tests.contract.refusals import told
from tests.deployment import message

ORIGIN = {"Origin": "https://app.example.org"}
READ = ("/v1/usage", "/v1/usage/summary", "/v1/usage/req_x", "/v1/balance")


class Pages:
    """Inherited by each brand's tests."""

    @pytest.mark.parametrize("path", READ)
    def test_nothing_of_a_tenants_own_is_told_without_a_key(self, house: House, path: str) -> None:
        told(house, "anthropic", "key", house.call("GET", path))
        told(house, "anthropic", "key", house.call("GET", path, house.promised.key_prefix + "B" * 43))

    @pytest.mark.parametrize(("headers", "api"), [({}, "openai"), ({"anthropic-version": "2023-06-01"}, "anthropic")])
    def test_models_are_not_listed_without_a_key(self, house: House, headers: dict[str, str], api: Api) -> None:
        told(house, api, "key", house.call("GET", "/v1/models", headers=headers))

    @pytest.mark.parametrize(
        ("method", "path", "api"),
        [
            ("POST", "/v1/complete", "anthropic"),
            ("POST", "/v1/messages/batches", "anthropic"),
            ("GET", "/nothing", "anthropic"),
            ("POST", "/v1/completions", "openai"),
            ("POST", "/v1/images/generations", "openai"),
            ("GET", "/v1/responses/resp_1", "openai"),
        ],
    )
    def test_an_unknown_route_is_404_in_the_words_of_its_api(
        self, house: House, key: str, method: str, path: str, api: Api
    ) -> None:
        told(house, api, "route", house.call(method, path, key))

    def test_an_unknown_request_id_is_404(self, house: House, key: str) -> None:
        told(house, "anthropic", "usage_unknown", house.call("GET", "/v1/usage/req_nobody", key))

    def test_a_page_of_another_origin_may_ask_and_read_the_answer(self, house: House, key: str) -> None:
        asks = ORIGIN | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        preflight = house.call("OPTIONS", "/v1/messages", headers=asks)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert {"authorization", "x-api-key", "anthropic-version"} <= set(
            preflight.headers["access-control-allow-headers"].split(", ")
        )
        answers = (
            house.call("POST", "/v1/messages", key, message(), ORIGIN),
            house.call("POST", "/v1/messages", key, message(stream=True), ORIGIN),
            house.call("POST", "/v1/chat/completions", body=message(), headers=ORIGIN),
            house.call("GET", "/v1/models", key, headers=ORIGIN),
        )
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == "*"
            assert {"x-request-id"} | house.promised.own_headers <= {
                *answer.headers["access-control-expose-headers"].split(", ")
            }

    def test_what_is_no_page_is_told_nothing_of_origins(self, house: House, key: str) -> None:
        for answer in (house.call("POST", "/v1/messages", key, message()), house.call("GET", "/v1/models", key)):
            assert not any(name.startswith("access-control-") for name in answer.headers)
