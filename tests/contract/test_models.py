"""The model lists: what a key may call now, in three shapes, on every path, by the official SDKs and plain HTTP."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from anthropic.types import ModelInfo
from google import genai
from google.genai import types as google

from tests.contract.house import House
from tests.deployment import MODEL, ROOT, Deployment, Tenant, eventually
from tests.sdks import anthropic_sdk, openai_sdk
from tollhouse.v1 import auth_pb2, router_pb2

GROUP = "shelf"
SERVED = ["claude-haiku-4-5-20251001", "openai/gpt-5.2"]
OPENAI_MODEL = {"id", "object", "created", "owned_by"}


@pytest.fixture(scope="module")
def shelf(tollhouse: Deployment) -> Iterator[Tenant]:
    """A tenant whose key is in a group of its own: one model of Anthropic's API, one of OpenAI's, and one of a disabled
    account."""
    router = tollhouse.router
    router.PutPool(router_pb2.PutPoolRequest(name=GROUP))
    router.PutGroup(router_pb2.PutGroupRequest(group=router_pb2.Group(name=GROUP, pools=[GROUP])))
    for model, kind, enabled in (
        (SERVED[0], router_pb2.UPSTREAM_KIND_ANTHROPIC, True),
        (SERVED[1], router_pb2.UPSTREAM_KIND_OPENAI, True),
        ("claude-disabled", router_pb2.UPSTREAM_KIND_ANTHROPIC, False),
    ):
        account = router_pb2.UpstreamAccount(
            name=f"shelf-{model.replace('/', '-')}",
            kind=kind,
            base_url=tollhouse.simulator_url,
            models={model: model},
            enabled=enabled,
            pool=GROUP,
        )
        router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=account, credential="c"))
    tenant = tollhouse.tenant()
    made = created(tollhouse, tenant, group=GROUP)
    eventually(lambda: len(openai_ids(tollhouse, made.key)) == len(SERVED), what="the models of the group")
    yield made
    for account in router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest()).accounts:
        if account.pool == GROUP:
            router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name=account.name))


def created(tollhouse: Deployment, tenant: Tenant, **fields: Any) -> Tenant:
    """Another key of a tenant."""
    made = tollhouse.auth.CreateKey(auth_pb2.CreateKeyRequest(tenant_id=tenant.tenant_id, name="test", **fields))
    return Tenant(tenant.tenant_id, made.secret, made.key.key_id)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def anthropic_headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "anthropic-version": "2023-06-01"}


def openai_ids(tollhouse: Deployment, key: str) -> list[str]:
    return [model["id"] for model in tollhouse.call("GET", "/v1/models", bearer(key)).json()["data"]]


# ---- what is listed ----


def test_the_list_is_what_the_keys_group_serves_by_enabled_accounts(tollhouse: Deployment, shelf: Tenant) -> None:
    assert openai_ids(tollhouse, shelf.key) == SERVED
    other = tollhouse.tenant()
    assert MODEL in openai_ids(tollhouse, other.key)
    assert SERVED[1] not in openai_ids(tollhouse, other.key)


def test_a_keys_own_list_narrows_it(tollhouse: Deployment, shelf: Tenant, houses: dict[str, House]) -> None:
    narrow = created(tollhouse, shelf, group=GROUP, models=[SERVED[1], "not-served"])
    assert openai_ids(tollhouse, narrow.key) == [SERVED[1]]
    refused = houses["haze"].call("GET", f"/v1/models/{SERVED[0]}", headers=anthropic_headers(narrow.key))
    assert (refused.status, refused.json()["error"]["type"]) == (403, "permission_error")
    assert refused.headers["x-should-retry"] == "false"


def test_a_key_lists_nothing_from_an_address_that_is_not_on_its_list(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    elsewhere = created(tollhouse, tenant, addresses=["203.0.113.0/24"])
    here = created(tollhouse, tenant, addresses=["127.0.0.0/8"])
    for path in ("/v1/models", "/v1beta/models", "/v1/balance", "/v1/usage"):
        assert tollhouse.call("GET", path, bearer(elsewhere.key)).status == 403
        assert tollhouse.call("GET", path, bearer(here.key)).status == 200


# ---- the official SDKs ----


def test_anthropics_sdk_lists_and_retrieves_in_its_own_types(tollhouse: Deployment, shelf: Tenant) -> None:
    client = anthropic_sdk(tollhouse.base_url, shelf.key)
    raw = client.models.with_raw_response.list(limit=1)
    page = json.loads(raw.http_response.content)
    assert page.keys() == {"data", "first_id", "last_id", "has_more"}
    assert (page["first_id"], page["last_id"], page["has_more"]) == (SERVED[0], SERVED[1], False)
    for listed in page["data"]:
        assert not ModelInfo.model_validate_json(json.dumps(listed), strict=True).__pydantic_extra__
        assert listed["display_name"] == listed["id"]
        assert listed["created_at"] == "2021-07-20T00:00:00Z"
    assert [model.id for model in client.models.list(after_id=SERVED[0], limit=1)] == SERVED
    assert [client.models.retrieve(model).id for model in SERVED] == SERVED


def test_the_older_sdk_that_many_frameworks_pin_lists_them_too(tollhouse: Deployment, shelf: Tenant) -> None:
    script = (
        "import sys, json, anthropic; from anthropic.types import ModelInfo\n"
        "client = anthropic.Anthropic(api_key=sys.argv[2], base_url=sys.argv[1], max_retries=0)\n"
        "raw = json.loads(client.models.with_raw_response.list().http_response.content)\n"
        "models = [ModelInfo.model_validate_json(json.dumps(m), strict=True) for m in raw['data']]\n"
        "assert not any(m.__pydantic_extra__ for m in models)\n"
        "print(json.dumps([anthropic.__version__] + [m.id for m in models]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tollhouse.base_url, shelf.key],
        env={"PYTHONPATH": str(ROOT / ".venv" / "sdk1")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    version, *listed = json.loads(done.stdout)
    assert version.startswith("1.")
    assert listed == SERVED


@pytest.mark.parametrize("base", ["/v1", "/v1/v1", "/v1beta/openai", "/api/proxy/v1"])
def test_openais_sdk_lists_and_retrieves_in_its_own_types(tollhouse: Deployment, shelf: Tenant, base: str) -> None:
    client = openai_sdk(tollhouse.base_url + base, shelf.key)
    raw = json.loads(client.models.with_raw_response.list().http_response.content)
    assert raw.keys() == {"object", "data"}
    for listed in raw["data"]:
        assert not openai.types.Model.model_validate_json(json.dumps(listed), strict=True).__pydantic_extra__
        assert listed["created"] == 1_626_777_600
    assert [model["owned_by"] for model in raw["data"]] == ["anthropic", "openai"]
    assert [client.models.retrieve(model).id for model in SERVED] == SERVED


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("base", ["", "/v1", "/api/proxy"])
def test_googles_sdk_lists_and_gets_in_its_own_types(
    tollhouse: Deployment, shelf: Tenant, version: str, base: str
) -> None:
    options = google.HttpOptions(base_url=tollhouse.base_url + base, api_version=version)
    client = genai.Client(api_key=shelf.key, http_options=options)
    listed = list(client.models.list(config={"page_size": 1}))
    assert [model.name for model in listed] == [f"models/{model}" for model in SERVED]
    assert [model.display_name for model in listed] == SERVED
    assert [client.models.get(model=model).name for model in SERVED] == [f"models/{model}" for model in SERVED]


def test_googles_sdk_understands_our_refusals(tollhouse: Deployment, shelf: Tenant) -> None:
    options = google.HttpOptions(base_url=tollhouse.base_url)
    client, stranger = (genai.Client(api_key=key, http_options=options) for key in (shelf.key, "sk-th-nobody"))
    with pytest.raises(genai.errors.ClientError) as unknown:
        client.models.get(model="no-such-model")
    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    with pytest.raises(genai.errors.ClientError) as nobody:
        stranger.models.list()
    assert (nobody.value.code, nobody.value.status) == (401, "UNAUTHENTICATED")
    assert "(request id: req_" in str(nobody.value.message)


# ---- shapes ----


def test_the_shape_follows_headers_where_all_shapes_are_and_the_path_elsewhere(
    tollhouse: Deployment, shelf: Tenant
) -> None:
    def keys(path: str, headers: dict[str, str]) -> set[str]:
        return set(tollhouse.call("GET", path, headers).json())

    google_key, version = {"x-goog-api-key": shelf.key}, {"anthropic-version": "2026-10-21"}
    assert keys("/v1/models", bearer(shelf.key) | version) == {"data", "first_id", "last_id", "has_more"}
    assert keys("/v1/models", google_key | version) == {"data", "first_id", "last_id", "has_more"}
    assert keys("/v1/models", {"x-api-key": shelf.key}) == {"object", "data"}
    assert keys("/v1/models", google_key) == {"models", "nextPageToken"}
    assert keys(f"/v1/models?key={shelf.key}", {}) == {"models", "nextPageToken"}
    assert keys("/v1beta/models", bearer(shelf.key) | version) == {"models", "nextPageToken"}
    assert keys("/v1beta/openai/models", google_key | version) == {"object", "data"}
    assert keys(f"/v1/models/{SERVED[1]}?key={shelf.key}", {}) == {"name", "displayName", "supportedGenerationMethods"}
    assert keys(f"/v1beta/openai/models/{SERVED[1]}", google_key) == OPENAI_MODEL


# ---- keys ----


def test_two_different_keys_are_refused_wherever_both_are_honoured(
    tollhouse: Deployment, houses: dict[str, House], shelf: Tenant
) -> None:
    both = bearer(shelf.key) | {"x-goog-api-key": "sk-th-other"}
    assert tollhouse.call("GET", "/v1beta/models", both).status == 401
    assert tollhouse.call("GET", "/v1/models?key=other", bearer(shelf.key)).status == 401
    assert tollhouse.call("GET", f"/v1/models?key={shelf.key}", bearer(shelf.key)).status == 200
    assert houses["buzz"].call("GET", "/v1/models", headers=both).status == 200


# ---- what is not there ----


def test_a_model_that_nobody_serves_has_the_brands_status_on_every_path(
    houses: dict[str, House], shelf: Tenant
) -> None:
    for brand, house in houses.items():
        for path in ("/v1/models/no/such", "/v1beta/models/no/such", "/v1beta/openai/models/no/such"):
            answer = house.call("GET", path, headers=bearer(shelf.key))
            assert answer.status == (503 if brand == "buzz" else 404), path
            assert f"(request id: {answer.headers['x-request-id']})" in answer.json()["error"]["message"]
    unknown = houses["buzz"].call("GET", "/v1/models/no-such", headers=anthropic_headers(shelf.key)).json()["error"]
    assert (unknown["type"], unknown["code"]) == ("buzz_error", "model_not_found")


@pytest.mark.parametrize("brand", ["buzz", "cc", "haze", "cheap"])
def test_deleting_a_model_is_not_implemented_in_the_callers_shape(
    houses: dict[str, House], shelf: Tenant, brand: str
) -> None:
    path = f"/v1/models/{SERVED[1]}"
    in_anthropics = houses[brand].call("DELETE", path, headers=anthropic_headers(shelf.key))
    in_openais = houses[brand].call("DELETE", path, headers=bearer(shelf.key))
    in_geminis = houses[brand].call("DELETE", path, headers={"x-goog-api-key": shelf.key})
    assert {answer.status for answer in (in_anthropics, in_openais, in_geminis)} == {501}
    assert in_anthropics.json()["error"]["type"] == "not_implemented_error"
    assert ("type" in in_anthropics.json()) == (brand != "buzz")
    assert in_openais.json()["error"]["code"] == "not_implemented"
    assert in_geminis.json()["error"]["status"] == "UNIMPLEMENTED"
