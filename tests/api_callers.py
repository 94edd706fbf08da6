"""Programs that call the management API, for tests."""

import re
from typing import Any

import httpx2

from tests.deployment import NO_AUTHORITIES, Deployment
from tests.visitors import Visitor, text_of


class ApiCaller:
    """One program, with an access token."""

    def __init__(self, tollhouse: Deployment, token: str, visitor: Visitor | None = None) -> None:
        self.token = token
        self._visitor = visitor
        headers = {"authorization": f"Bearer {token}"}
        self.client = httpx2.Client(base_url=tollhouse.console_url, headers=headers, timeout=30, verify=NO_AUTHORITIES)

    @property
    def visitor(self) -> Visitor:
        """Whose token it is."""
        assert self._visitor is not None
        return self._visitor

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self.client.request(method, path, **options)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx2.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx2.Response:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> httpx2.Response:
        return self.request("DELETE", path, **options)


def token_of(visitor: Visitor, *scopes: str, name: str = "test") -> str:
    """A new access token of a visitor's."""
    answer = visitor.send("/settings/tokens", "/settings/tokens", name=name, days="7", **dict.fromkeys(scopes, "on"))
    found = re.search(r"tha_[\w-]{43}", answer.text)
    assert found is not None, text_of(answer)
    return found[0]


def caller_with(visitor: Visitor, tollhouse: Deployment, *scopes: str) -> ApiCaller:
    """A program with a new token of a visitor's."""
    return ApiCaller(tollhouse, token_of(visitor, *scopes), visitor)
