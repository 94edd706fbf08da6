"""What holds on every public path: refusals in the words of brand and API, keys of every brand, the paths that users
mix up, and browsers."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.contract.houses import EXAMPLES, House, applied
from tests.deployment import MODEL, Deployment, Tenant, message
from tollhouse.v1 import auth_pb2

ORIGIN = {"origin": "https://playground.example"}
KEY_PREFIXES = {"buzz": "sk-", "cc": "cc_user_", "haze": "sk-rr-", "cheap": "sk-cc-"}
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
def houses(tollhouse: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, House]:
    return applied(tollhouse, tmp_path_factory.mktemp("public"))


@pytest.fixture(scope="module")
def tenant(tollhouse: Deployment) -> Tenant:
    return tollhouse.tenant()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def every_refusal(house: House) -> Iterator[tuple[httpx2.Response, str]]:
    """Refusals of every kind of route, each with whose shape it must have."""
    version = {"anthropic-version": "2023-06-01"}
    for path, body in POSTS.items():
        shape = "anthropic" if path.startswith("/v1/messages") else "openai"
        yield house.ask("POST", path, UNKNOWN_KEY, json.dumps(body).encode()), shape
        yield house.ask("PUT", path, UNKNOWN_KEY), shape
    yield house.ask("GET", "/v1/models", UNKNOWN_KEY), "openai"
    yield house.ask("GET", "/v1/models", UNKNOWN_KEY | version), "anthropic"
    yield house.ask("GET", "/v1/models/x", {"x-goog-api-key": "sk-nobodys"}), "gemini"
    yield house.ask("GET", "/v1beta/models", UNKNOWN_KEY), "gemini"
    yield house.ask("GET", "/v1beta/openai/models", UNKNOWN_KEY | version), "openai"
    yield house.ask("GET", "/v1/images/generations", UNKNOWN_KEY), "openai"
    for path in ("/v1/usage", "/v1/usage/req_x", "/v1/usage/summary", "/v1/balance", "/v1/usage/req_x/receipt"):
        yield house.ask("GET", path), "anthropic"
        yield house.ask("GET", path, UNKNOWN_KEY), "anthropic"
        yield house.ask("POST", path, UNKNOWN_KEY), "anthropic"
    for path in ("/nothing", "/v1/nothing", "/v1", "/api/proxy/nothing", "/openapi.yaml"):
        yield house.ask("GET", path), "anthropic"


@pytest.mark.parametrize("brand", EXAMPLES)
def test_every_refusal_is_in_its_shape_and_tells_the_request_id(houses: dict[str, House], brand: str) -> None:
    for answer, shape in every_refusal(houses[brand]):
        what = f"{answer.request.method} {answer.request.url.path}: {answer.text}"
        body, request_id = answer.json(), answer.headers["x-request-id"]
        error = body["error"]
        assert error["message"].endswith(f"(request id: {request_id})"), what
        if shape == "anthropic":
            assert "param" not in error, what
            assert ("request_id" in body) == (body.get("type") == "error") == (brand != "buzz"), what
        elif shape == "openai":
            assert error.keys() == {"message", "type", "param", "code"}, what
        else:
            assert error.keys() == {"code", "message", "status"}, what
            assert error["code"] == answer.status_code, what
        assert (answer.headers.get("x-should-retry") == "false") == (answer.status_code == 401), what
        assert answer.headers.get("x-cc-request-id") == (request_id if brand == "cc" else None), what
        assert answer.headers["content-type"] == "application/json", what


@pytest.mark.parametrize(
    ("brand", "on_messages", "on_chat"),
    [
        ("buzz", "buzz_error", "buzz_error"),
        ("cc", "authentication_error", "authentication_error"),
        ("haze", "authentication_error", "invalid_api_key"),
        ("cheap", "authentication_error", "authentication_error"),
    ],
)
def test_a_key_that_is_no_good_has_the_brands_name(
    houses: dict[str, House], brand: str, on_messages: str, on_chat: str
) -> None:
    house = houses[brand]
    for headers in ({}, UNKNOWN_KEY, UNKNOWN_KEY | {"x-api-key": "sk-another"}):
        for path, expected in (("/v1/messages", on_messages), ("/v1/chat/completions", on_chat)):
            answer = house.ask("POST", path, headers, json.dumps(POSTS[path]).encode())
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, expected)
        listed = house.ask("GET", "/v1/models", headers)
        assert (listed.status_code, listed.json()["error"]["type"]) == (401, on_chat)
        balance = house.ask("GET", "/v1/balance", headers)
        assert (balance.status_code, balance.json()["error"]["type"]) == (401, on_messages)


def test_an_answer_tells_the_request_id_under_the_brands_header_too(houses: dict[str, House], tenant: Tenant) -> None:
    cc = houses["cc"]
    for path in (*GETS, "/", "/.well-known/tollhouse-receipt-keys.json"):
        answer = cc.ask("GET", path, bearer(tenant.key))
        assert answer.status_code == 200, path
        assert answer.headers["x-cc-request-id"] == answer.headers["x-request-id"] != ""
    other = houses["haze"].ask("GET", "/v1/balance", bearer(tenant.key))
    assert not [name for name in other.headers if name.startswith("x-cc-")]


# ---- keys ----


def test_a_key_of_every_brand_works_on_every_route_of_every_brand(
    tollhouse: Deployment, houses: dict[str, House], tenant: Tenant
) -> None:
    for brand, prefix in KEY_PREFIXES.items():
        asked = auth_pb2.CreateKeyRequest(tenant_id=tenant.tenant_id, name="k", brand=houses[brand].name)
        key = tollhouse.auth.CreateKey(asked).secret
        assert key.startswith(prefix)
        for house in houses.values():
            for shown in (key, key.removeprefix(prefix)):
                assert house.ask("GET", "/v1/balance", {"x-api-key": shown}).status_code == 200
            twice = bearer(key) | {"x-api-key": key.removeprefix(prefix)}
            assert house.ask("GET", "/v1/models", twice).status_code == 200
            sent = house.ask("POST", "/v1/messages", twice, json.dumps(message()).encode())
            assert sent.status_code == 200, sent.text


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
            answer = houses["cc"].ask("POST", path, headers, json.dumps(said).encode())
            assert answer.status_code == 200, (path, answer.text)


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


def assert_readable(answer: httpx2.Response, *names: str) -> None:
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
            answer = cc.ask("POST", path, bearer(tenant.key) | ORIGIN, json.dumps(said).encode())
            assert answer.status_code == 200, answer.text
            assert_readable(answer, "x-cc-request-id", "x-cc-account-id")
        assert_readable(cc.ask("POST", path, ORIGIN, b"{}"))
        assert_readable(cc.ask("PUT", path, ORIGIN))
    for path in (*GETS, "/", "/nothing", "/v1/usage/req_x", "/.well-known/tollhouse-receipt-keys.json"):
        assert_readable(cc.ask("GET", path, bearer(tenant.key) | ORIGIN))


def test_who_is_no_browser_hears_nothing_of_it(houses: dict[str, House], tenant: Tenant) -> None:
    sent = houses["cc"].ask("POST", "/v1/messages", bearer(tenant.key), json.dumps(message()).encode())
    listed = houses["cc"].ask("GET", "/v1/models", bearer(tenant.key))
    for answer in (sent, listed):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert houses["cc"].ask("OPTIONS", "/v1/messages").status_code == 405


def test_a_page_may_read_what_came_of_limits(tollhouse: Deployment, houses: dict[str, House]) -> None:
    tenant = tollhouse.tenant()
    asked = auth_pb2.CreateKeyRequest(tenant_id=tenant.tenant_id, name="k", plan="free")
    key = tollhouse.auth.CreateKey(asked).secret
    for path in ("/v1/messages", "/v1/chat/completions"):
        answer = houses["cheap"].ask("POST", path, bearer(key) | ORIGIN, json.dumps(POSTS[path]).encode())
        assert answer.status_code == 200, answer.text
        assert [name for name in answer.headers if "ratelimit-" in name]
        assert_readable(answer)
