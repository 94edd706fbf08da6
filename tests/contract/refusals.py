"""What every brand promises of refusals: status, words in either API's shape, request ids, and when to ask again."""

import json
import time
from typing import Any

import pytest

from tests.contract.house import House
from tests.contract.promised import APIS, Api
from tests.deployment import Answer, eventually, free_port, message
from tollhouse.v1 import auth_pb2, types_pb2

in_either_api = pytest.mark.parametrize("api", APIS)
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
OTHER_MODEL = "claude-haiku-4-5"
OURS_TO_HIDE = ("credential", "simulator", "127.0.0.1:", "Traceback")


class Refusals:
    """Inherited by each brand's tests."""

    @in_either_api
    def test_a_request_without_a_key_is_401(self, house: House, api: Api) -> None:
        told(house, api, "key", house.call("POST", PATHS[api], body=message()))

    @in_either_api
    def test_a_malformed_key_is_401(self, house: House, api: Api) -> None:
        told(house, api, "key", house.ask(api, "k" * 300))
        told(house, api, "key", house.call("POST", PATHS[api], body=message(), headers={"Authorization": "Basic eDp5"}))

    @in_either_api
    def test_an_unknown_key_is_401(self, house: House, api: Api) -> None:
        told(house, api, "key", house.ask(api, house.promised.key_prefix + "A" * 43))

    @in_either_api
    def test_two_headers_with_different_keys_are_401(self, house: House, key: str, api: Api) -> None:
        other = {"x-api-key": house.tenant().key}
        told(house, api, "key", house.call("POST", PATHS[api], key, message(), other))

    @in_either_api
    def test_an_expired_key_is_401(self, house: House, api: Api) -> None:
        expires_ms = round(time.time() * 1000) + 500
        key = house.tenant(expires_ms=expires_ms).key
        eventually(lambda: time.time() * 1000 > expires_ms, what="the key expires")
        told(house, api, "key", house.ask(api, key))

    @in_either_api
    def test_a_balance_that_cannot_cover_the_request_is_402(self, house: House, api: Api) -> None:
        told(house, api, "money", house.ask(api, house.tenant(dollars=0).key))

    @in_either_api
    def test_a_keys_cap_that_cannot_cover_the_request_is_402(self, house: House, api: Api) -> None:
        told(house, api, "key_cap", house.ask(api, house.tenant(spend_cap_nano=1000).key))

    @in_either_api
    def test_a_disabled_key_is_403(self, house: House, api: Api) -> None:
        tenant = house.tenant()
        house.tollhouse.auth.SetKeyEnabled(auth_pb2.SetKeyEnabledRequest(key_id=tenant.key_id, enabled=False))
        told(house, api, "key_disabled", house.ask(api, tenant.key))

    @in_either_api
    def test_an_address_that_is_not_on_the_keys_list_is_403(self, house: House, api: Api) -> None:
        told(house, api, "address", house.ask(api, house.tenant(addresses=["203.0.113.0/24", "2001:db8::1"]).key))
        assert house.ask(api, house.tenant(addresses=["203.0.113.7", "127.0.0.0/8"]).key).status == 200

    @in_either_api
    def test_a_model_that_is_not_on_the_keys_list_is_403(self, house: House, api: Api) -> None:
        key = house.tenant(models=[OTHER_MODEL]).key
        told(house, api, "model_not_allowed", house.ask(api, key))
        assert house.ask(api, key, OTHER_MODEL).status == 200

    @in_either_api
    def test_a_model_that_nobody_serves_has_the_brands_status(self, house: House, key: str, api: Api) -> None:
        assert "no-such-model" in told(house, api, "model_unknown", house.ask(api, key, "no-such-model"))

    @in_either_api
    def test_a_body_that_is_no_request_is_400(self, house: House, key: str, api: Api) -> None:
        for body in (b"", b'{"model": ', b"[]", b'{"model": "m"}'):
            told(house, api, "malformed", house.call("POST", PATHS[api], key, body))

    @in_either_api
    def test_a_body_over_32_mib_is_413(self, house: House, key: str, api: Api) -> None:
        told(house, api, "too_large", house.call("POST", PATHS[api], key, b" " * (32 * 1024 * 1024 + 1)))

    @in_either_api
    def test_a_key_over_its_requests_a_minute_is_429(self, house: House, api: Api) -> None:
        tenant = house.tenant()
        once = types_pb2.Limit(metric=types_pb2.LIMIT_METRIC_REQUESTS, amount=1)
        policy = auth_pb2.SetKeyPolicyRequest(key_id=tenant.key_id, limits=[once])
        house.tollhouse.auth.SetKeyPolicy(policy)
        first = house.ask(api, tenant.key)
        left = "anthropic-ratelimit-requests-remaining" if api == "anthropic" else "x-ratelimit-remaining-requests"
        assert (first.status, first.headers[left]) == (200, "0")
        told(house, api, "rate", house.ask(api, tenant.key))

    @in_either_api
    def test_a_model_whose_every_account_is_rate_limited_is_429(self, house: House, key: str, api: Api) -> None:
        model = house.upstream(f"throttled-{api}", house.tollhouse.simulator_url)
        told(house, api, "throttled", house.ask(api, key, model, "status=429;retry_after=40"))

    @in_either_api
    def test_a_model_whose_every_account_is_overloaded_is_529(self, house: House, key: str, api: Api) -> None:
        model = house.upstream(f"overloaded-{api}", house.tollhouse.simulator_url)
        told(house, api, "overloaded", house.ask(api, key, model, "status=529"))

    @in_either_api
    def test_a_model_without_a_healthy_account_is_503(self, house: House, key: str, api: Api) -> None:
        """An account whose credential the provider refuses is ours to mend: its 401 is nobody's but ours."""
        model = house.upstream(f"unwell-{api}", house.tollhouse.simulator_url)
        told(house, api, "no_account", self.after(house, key, api, model, "status=401"))

    @in_either_api
    def test_an_upstream_that_cannot_be_reached_is_502(self, house: House, key: str, api: Api) -> None:
        model = house.upstream(f"away-{api}", f"http://127.0.0.1:{free_port()}")
        told(house, api, "upstream_failed", house.ask(api, key, model))

    @in_either_api
    def test_an_upstream_that_says_nothing_is_504(self, house: House, key: str, api: Api) -> None:
        model = house.upstream(f"silent-{api}", house.tollhouse.simulator_url)
        told(house, api, "timeout", house.ask(api, key, model, "hang=before"))

    @pytest.mark.parametrize("status", [400, 404, 413, 422])
    def test_an_upstreams_refusal_that_is_the_callers_fault_is_passed_on(
        self, house: House, key: str, status: int
    ) -> None:
        for api in APIS:
            answer = house.ask(api, key, simulator=f"status={status};message=the very words")
            assert answer.status == status
            assert "the very words" in answer.json()["error"]["message"]

    @in_either_api
    def test_a_stream_that_breaks_ends_with_the_error_event_of_its_api(self, house: House, key: str, api: Api) -> None:
        model = house.upstream(f"cut-{api}", house.tollhouse.simulator_url)
        cut = {"x-simulator": "cut_after=5"}
        answer = house.call("POST", PATHS[api], key, message(model=model, stream=True), cut)
        request_id = answer.headers["x-request-id"]
        last = answer.body.rstrip(b"\n").rpartition(b"\n\n")[2]
        assert last.startswith(b"event: error\ndata: " if api == "anthropic" else b"data: ")
        error = json.loads(last.partition(b"data: ")[2])["error"]
        assert error["type"] == house.promised.refused(api, "upstream_failed").type
        assert error["message"].endswith(f" (request id: {request_id})")
        assert house.call("GET", f"/v1/usage/{request_id}", key).json()["status"] == "interrupted"

    @staticmethod
    def after(house: House, key: str, api: Api, model: str, script: str) -> Answer:
        """The answer once the model's one account is known to be of no use."""
        first = house.ask(api, key, model, script)
        assert first.status >= 500, first.body
        return house.ask(api, key, model, script)


def told(house: House, api: Api, why: str, answer: Answer) -> str:
    """A refusal is told as the brand promises it. Answers its message."""
    promised = house.promised.refused(api, why)
    assert answer.status == promised.status, answer.body
    assert answer.headers["content-type"] == "application/json"
    request_id = answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    error: dict[str, Any] = body["error"]
    message: str = error["message"]
    assert message.endswith(f" (request id: {request_id})")
    expected: dict[str, Any] = {"type": promised.type, "message": message}
    if api == "openai":
        assert body == {"error": expected | {"param": error["param"], "code": promised.code}}
        assert error["param"] is None or isinstance(error["param"], str)
    else:
        expected |= {"code": promised.code} if promised.code else {}
        around = {} if house.promised.bare_errors else {"type": "error", "request_id": request_id}
        assert body == around | {"error": expected}
    if house.promised.request_id_header:
        assert answer.headers[house.promised.request_id_header.lower()] == request_id
    for secret in OURS_TO_HIDE:
        assert secret not in message
    to_be_retried(answer)
    return message


def to_be_retried(answer: Answer) -> None:
    """What a client must not ask again says so; what passes says when."""
    assert answer.headers.get("x-should-retry") == ("false" if answer.status in (401, 402, 403) else None)
    if answer.status in (429, 503, 529):
        assert int(answer.headers["retry-after"]) >= 1
    else:
        assert "retry-after" not in answer.headers
