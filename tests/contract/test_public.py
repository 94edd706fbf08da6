"""What holds on every public path: refusals in the words of brand and API, keys of every brand, the paths that users
mix up, and browsers."""

import json
from collections.abc import Iterator

import pytest

from tests.contract.house import House
from tests.deployment import MODEL, Answer, Deployment, Tenant, message
from tollhouse.v1 import auth_pb2

ORIGIN = {"origin": "https://playground.example"}
CHAT = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello."}]}
POSTS = {
    "/v1/messages": message(),
    "/v1/messages/count_tokens": {"model": MODEL, "messages": CHAT["messages"]},
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"model": MODEL, "max_output_tokens": 50, "input": "Say hello."},
}
GETS = ("/v1/models", f"/v1/models/{MODEL}", "/v1beta/models", "/v1beta/openai/models", "/v1/usage", "/v1/balance")
UNKNOWN_KEY = {"authorization": "Bearer sk-nobodys"}


@pytest.fixture(scope="module")
def tenant(tollhouse: Deployment) -> Tenant:
    return tollhouse.tenant()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def every_refusal(house: House) -> Iterator[tuple[Answer, str]]:
    """Refusals of every kind of route, each with whose shape it must have."""
    version = {"anthropic-version": "2023-06-01"}
    for path, body in POSTS.items():
        shape = "anthropic" if path.startswith("/v1/messages") else "openai"
        yield house.call("POST", path, headers=UNKNOWN_KEY, body=body), shape
        yield house.call("PUT", path, headers=UNKNOWN_KEY), shape
    yield house.call("GET", "/v1/models", headers=UNKNOWN_KEY), "openai"
    yield house.call("GET", "/v1/models", headers=UNKNOWN_KEY | version), "anthropic"
    yield house.call("GET", "/v1/models/x", headers={"x-goog-api-key": "sk-nobodys"}), "gemini"
    yield house.call("GET", "/v1beta/models", headers=UNKNOWN_KEY), "gemini"
    yield house.call("GET", "/v1beta/openai/models", headers=UNKNOWN_KEY | version), "openai"
    yield house.call("GET", "/v1/images/generations", headers=UNKNOWN_KEY), "openai"
    for path in ("/v1/usage", "/v1/usage/req_x", "/v1/usage/summary", "/v1/balance", "/v1/usage/req_x/receipt"):
        yield house.call("GET", path), "anthropic"
        yield house.call("GET", path, headers=UNKNOWN_KEY), "anthropic"
        yield house.call("POST", path, headers=UNKNOWN_KEY), "anthropic"
    for path in ("/nothing", "/v1/nothing", "/v1", "/api/proxy/nothing", "/openapi.yaml"):
        yield house.call("GET", path), "anthropic"


@pytest.mark.parametrize("brand", ["buzz", "cc", "haze", "cheap"])
def test_every_refusal_is_in_its_shape_and_tells_the_request_id(houses: dict[str, House], brand: str) -> None:
    for answer, shape in every_refusal(houses[brand]):
        body, request_id, what = answer.json(), answer.headers["x-request-id"], answer
        error = body["error"]
        assert error["message"].endswith(f"(request id: {request_id})"), what
        if shape == "anthropic":
            assert "param" not in error, what
            assert ("request_id" in body) == (body.get("type") == "error") == (brand != "buzz"), what
        elif shape == "openai":
            assert error.keys() == {"message", "type", "param", "code"}, what
        else:
            assert error.keys() == {"code", "message", "status"}, what
            assert error["code"] == answer.status, what
        assert (answer.headers.get("x-should-retry") == "false") == (answer.status == 401), what
        assert answer.headers.get("x-cc-request-id") == (request_id if brand == "cc" else None), what
        assert answer.headers["content-type"] == "application/json", what


def test_an_answer_tells_the_request_id_under_the_brands_header_too(houses: dict[str, House], tenant: Tenant) -> None:
    cc = houses["cc"]
    for path in (*GETS, "/", "/.well-known/tollhouse-receipt-keys.json"):
        answer = cc.call("GET", path, headers=bearer(tenant.key))
        assert answer.status == 200, path
        assert answer.headers["x-cc-request-id"] == answer.headers["x-request-id"] != ""
    other = houses["haze"].call("GET", "/v1/balance", headers=bearer(tenant.key))
    assert not [name for name in other.headers if name.startswith("x-cc-")]


# ---- keys ----


def test_a_key_of_every_brand_works_on_every_route_of_every_brand(
    houses: dict[str, House],
) -> None:
    for issuer in houses.values():
        key, prefix = issuer.tenant().key, issuer.promised.key_prefix
        assert key.startswith(prefix)
        for house in houses.values():
            for shown in (key, key.removeprefix(prefix)):
                assert house.call("GET", "/v1/balance", headers={"x-api-key": shown}).status == 200
            twice = bearer(key) | {"x-api-key": key.removeprefix(prefix)}
            assert house.call("GET", "/v1/models", headers=twice).status == 200
            sent = house.call("POST", "/v1/messages", headers=twice, body=message())
            assert sent.status == 200, sent.body


# ---- paths and bodies ----


@pytest.mark.parametrize("base", ["/v1", "/v1/v1", "/api/proxy/v1", "/api/proxy/v1/v1", "//v1", "/v1beta/v1"])
def test_paths_that_users_mix_up_mean_the_same(tollhouse: Deployment, tenant: Tenant, base: str) -> None:
    for path, body in POSTS.items():
        mixed = base + path.removeprefix("/v1")
        answer = tollhouse.call("POST", mixed, bearer(tenant.key), json.dumps(body).encode())
        assert answer.status == 200, (mixed, answer.body)
    for path in ("/models", f"/models/{MODEL}", "/usage", "/usage/summary", "/balance"):
        assert tollhouse.call("GET", base + path, bearer(tenant.key)).status == 200, base + path


@pytest.mark.parametrize("path", ["/", "/api/proxy", "/api/proxy/"])
def test_clients_may_look_whether_somebody_is_there(tollhouse: Deployment, path: str) -> None:
    assert tollhouse.call("GET", path).status == 200
    head = tollhouse.call("HEAD", path)
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_a_body_is_json_whatever_its_content_type_says(
    houses: dict[str, House], tenant: Tenant, content_type: str | None
) -> None:
    headers = bearer(tenant.key) | ({"content-type": content_type} if content_type else {})
    for path, body in POSTS.items():
        for stream in (False, True):
            said = body if path.endswith("count_tokens") else body | {"stream": stream}
            answer = houses["cc"].call("POST", path, headers=headers, body=said)
            assert answer.status == 200, (path, answer.body)


# ---- browsers ----


@pytest.mark.parametrize("path", [*POSTS, *GETS, "/", "/v1/usage/req_x", "/api/proxy/v1/messages", "/v1/nothing"])
def test_a_browser_may_ask_whether_its_page_may_ask(tollhouse: Deployment, path: str) -> None:
    asked = ORIGIN | {
        "access-control-request-method": "POST",
        "access-control-request-headers": "anthropic-dangerous-direct-browser-access,anthropic-version,x-api-key",
    }
    answer = tollhouse.call("OPTIONS", path, asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    allowed = set(answer.headers["access-control-allow-headers"].split(", "))
    assert {"authorization", "content-type", "x-api-key", "x-goog-api-key", "anthropic-version", "*"} <= allowed
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in answer.headers


def assert_readable(answer: Answer, *names: str) -> None:
    """A page may read the answer and these headers of it."""
    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"x-request-id", "request-id", "retry-after", "x-should-retry", *names} <= exposed
    safelisted = {"content-type", "content-length", "cache-control"}
    ours = {name for name in answer.headers if not name.startswith("access-control-")}
    assert ours - safelisted - {"date", "transfer-encoding", "allow", "vary"} <= exposed


def test_a_page_may_read_every_answer_streams_and_refusals_too(houses: dict[str, House], tenant: Tenant) -> None:
    cc = houses["cc"]
    for path, body in POSTS.items():
        for stream in (False, True):
            said = body if path.endswith("count_tokens") else body | {"stream": stream}
            answer = cc.call("POST", path, headers=bearer(tenant.key) | ORIGIN, body=said)
            assert answer.status == 200, answer.body
            assert_readable(answer, "x-cc-request-id", "x-cc-account-id")
        assert_readable(cc.call("POST", path, headers=ORIGIN, body=b"{}"))
        assert_readable(cc.call("PUT", path, headers=ORIGIN))
    for path in (*GETS, "/", "/nothing", "/v1/usage/req_x", "/.well-known/tollhouse-receipt-keys.json"):
        assert_readable(cc.call("GET", path, headers=bearer(tenant.key) | ORIGIN))


def test_a_page_may_read_what_came_of_limits(tollhouse: Deployment, houses: dict[str, House]) -> None:
    tenant = tollhouse.tenant()
    asked = auth_pb2.CreateKeyRequest(tenant_id=tenant.tenant_id, name="k", plan="free")
    key = tollhouse.auth.CreateKey(asked).secret
    for path in ("/v1/messages", "/v1/chat/completions"):
        answer = houses["cheap"].call("POST", path, headers=bearer(key) | ORIGIN, body=POSTS[path])
        assert answer.status == 200, answer.body
        assert [name for name in answer.headers if "ratelimit-" in name]
        assert_readable(answer)
