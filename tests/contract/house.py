"""A brand of a running deployment: its clients' SDKs, plain HTTP, and its operator."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai

from tests.contract.promised import Api, Promised
from tests.deployment import MODEL, ROOT, Answer, Deployment, Tenant, eventually, request
from tests.sdks import anthropic_sdk, openai_sdk
from tollhouse.v1 import auth_pb2, router_pb2

BY_ANTHROPIC = "claude-of-an-anthropic-account"
BY_OPENAI = "openai/gpt-of-an-openai-account"
BY_OPENROUTER = "openrouter/auto"
EMBEDDING = "openai/text-embedding-3-small"
ASK: Any = [{"role": "user", "content": "Say hello."}]
_BUILT_IN_HOST = "gateway.example.com"


class House:
    """One brand, reached by its host's name."""

    def __init__(self, tollhouse: Deployment, promised: Promised) -> None:
        self.tollhouse = tollhouse
        self.promised = promised
        self.host = f"{promised.name}.example.com" if promised.name else _BUILT_IN_HOST
        self.url = f"http://{self.host}:{tollhouse.base_url.rpartition(':')[2]}"
        """For clients that resolve every name to this machine."""
        self._tenant_ids: list[str] = []
        self._accounts: list[str] = []

    # ---- clients ----

    def tenant(self, dollars: float = 10, **key: Any) -> Tenant:
        """A new tenant whose key is the brand's."""
        made = self.tollhouse.tenant(dollars, brand=self.promised.name, **key)
        self._tenant_ids.append(made.tenant_id)
        return made

    def anthropic(self, key: str, root: str = "", **options: Any) -> anthropic.Anthropic:
        """Anthropic's SDK, its newer generation."""
        return anthropic_sdk(self.tollhouse.base_url + root, key, default_headers={"Host": self.host}, **options)

    def openai(self, key: str, root: str = "") -> openai.OpenAI:
        """OpenAI's SDK."""
        url = f"{self.tollhouse.base_url}{root}/v1"
        return openai_sdk(url, key, default_headers={"Host": self.host})

    def call(
        self, method: str, path: str, key: str = "", body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request by the plainest client there is; a body that is no bytes is sent as JSON, untyped."""
        fields = {"Host": self.host} | ({"Authorization": f"Bearer {key}"} if key else {}) | (headers or {})
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return request(self.tollhouse.base_url, method, path, fields, data)

    def ask(self, api: Api, key: str, model: str = MODEL, simulator: str = "", **fields: Any) -> Answer:
        """What an SDK is answered on a small request, were it a refusal."""
        ask: Any = {"model": model, "max_tokens": 200, "messages": ASK} | fields
        ask["extra_headers"] = {"x-simulator": simulator} if simulator else {}
        try:
            if api == "anthropic":
                raw: Any = self.anthropic(key).messages.with_raw_response.create(**ask)
            else:
                raw = self.openai(key).chat.completions.with_raw_response.create(**ask)
            response = raw.http_response
        except (anthropic.APIStatusError, openai.APIStatusError) as error:
            response = error.response
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, response.content)

    # ---- upstreams ----

    def upstream(self, name: str, base_url: str) -> str:
        """A model of the brand's own, and the one account that serves it."""
        model = f"{name}-at-{self.promised.name or 'none'}"
        self.tollhouse.account(model, base_url, {model: MODEL})
        self._accounts.append(model)
        key = self.tenant().key
        eventually(lambda: model in self.call("GET", "/v1/models", key).body.decode(), what=f"{model} is listed")
        return model

    def disable(self, name: str) -> None:
        """Takes an upstream account out of use."""
        listed = self.tollhouse.router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest()).accounts
        (account,) = (account for account in listed if account.name == name)
        account.enabled = False
        self.tollhouse.router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=account))

    # ---- the brand ----

    @contextlib.contextmanager
    def open(self) -> Iterator["House"]:
        """Applies the brand's example and waits until the edge has it. Afterwards it is deleted, with its keys and its
        upstream accounts."""
        name = self.promised.name
        if name:
            self.tollhouse.command("brand", "apply", "-f", str(ROOT / "examples" / "brands" / f"{name}.toml"))
        try:
            key = self.tenant().key
            eventually(lambda: self._is_known(key), what=f"the edge knows {name or 'no brand'}")
            yield self
        finally:
            for account in self._accounts:
                self.tollhouse.router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name=account))
            for tenant_id in self._tenant_ids:
                self.delete_keys(tenant_id)
            if name:
                self.tollhouse.command("brand", "delete", name)

    def delete_keys(self, tenant_id: str) -> None:
        """Deletes all keys of a tenant."""
        for key in self.tollhouse.auth.ListKeys(auth_pb2.ListKeysRequest(tenant_id=tenant_id)).keys:
            self.tollhouse.auth.DeleteKey(auth_pb2.DeleteKeyRequest(key_id=key.key_id))

    def _is_known(self, key: str) -> bool:
        """Whether the edge knows the brand's prefix, and its words for a request without a key."""
        told = self.call("POST", "/v1/messages").json()["error"]["type"]
        known = self.call("GET", "/v1/balance", key).status == 200
        return known and told == self.promised.refused("anthropic", "key").type
