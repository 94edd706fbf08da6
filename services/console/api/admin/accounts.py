"""Upstream accounts: where requests go, and how those places do."""

from typing import Any, Final

import msgspec
from starlette.responses import Response

from services.console import live
from services.console.api.admin.resources import (
    BOOLEAN,
    STRING,
    changing,
    flag,
    listing,
    passed_on,
    reading,
    size_of,
)
from services.console.api.operation import Call, plain
from services.console.problems import Problem
from tollhouse.v1 import router_pb2

_MOST: Final = 500  # the router's pages
_TEST_S: Final = 25.0


class Credential(msgspec.Struct, forbid_unknown_fields=True):
    """What to authenticate with at the upstream. Written only: no answer ever holds it."""

    credential: str

    def __repr__(self) -> str:
        return "Credential(...)"


class Family(msgspec.Struct, forbid_unknown_fields=True):
    """A family of models; all of them when it is empty."""

    family: str = ""


class Tried(msgspec.Struct, forbid_unknown_fields=True):
    """A public model that the account serves; its first by name when it is empty."""

    model: str = ""


async def list_accounts(call: Call) -> Any:
    """A page of upstream accounts with their health, by name."""
    found = await call.console.clients.router.ListUpstreamAccounts(
        router_pb2.ListUpstreamAccountsRequest(
            page_size=min(size_of(call), _MOST),
            page_token=call.query.get("cursor", ""),
            search=call.query.get("search", ""),
            pool=call.query.get("pool", ""),
            cooling=flag(call, "cooling"),
            disabled=flag(call, "disabled"),
        )
    )
    return passed_on(found.accounts, found.next_page_token)


async def get_account(call: Call) -> router_pb2.UpstreamAccount:
    """One upstream account with its health."""
    asked = router_pb2.ListUpstreamAccountsRequest(name=call.path("name"))
    found = await call.console.clients.router.ListUpstreamAccounts(asked)
    for account in found.accounts:
        if account.name == call.path("name"):
            return account
    raise Problem(404, "There is no such upstream account.")


async def watch_account(call: Call) -> Response:
    """The same, again and again."""
    await get_account(call)

    async def said() -> str:
        return msgspec.json.encode(plain(await get_account(call))).decode()

    return live.stream(call.request, said, "account")


async def put_account(call: Call) -> router_pb2.UpstreamAccount:
    """Adds an upstream account, or replaces it; without a credential that of one that exists stays."""
    asked: router_pb2.PutUpstreamAccountRequest = call.body
    asked.account.name = call.path("name")
    return (await call.console.clients.router.PutUpstreamAccount(asked)).account


async def delete_account(call: Call) -> None:
    """Deletes an upstream account and its credential."""
    asked = router_pb2.DeleteUpstreamAccountRequest(name=call.path("name"))
    await call.console.clients.router.DeleteUpstreamAccount(asked)


async def enable_account(call: Call) -> router_pb2.UpstreamAccount:
    """Lets an upstream account be picked."""
    return await _set_enabled(call, True)


async def disable_account(call: Call) -> router_pb2.UpstreamAccount:
    """Picks an upstream account no more."""
    return await _set_enabled(call, False)


async def _set_enabled(call: Call, enabled: bool) -> router_pb2.UpstreamAccount:
    asked = router_pb2.SetUpstreamAccountEnabledRequest(name=call.path("name"), enabled=enabled)
    return (await call.console.clients.router.SetUpstreamAccountEnabled(asked)).account


async def clear_account(call: Call) -> router_pb2.UpstreamAccount:
    """Ends an upstream account's cooldowns."""
    asked = router_pb2.ClearUpstreamAccountRequest(name=call.path("name"), family=call.body.family)
    return (await call.console.clients.router.ClearUpstreamAccount(asked)).account


async def set_credential(call: Call) -> router_pb2.UpstreamAccount:
    """Replaces a credential."""
    asked = router_pb2.SetUpstreamCredentialRequest(name=call.path("name"), credential=call.body.credential)
    return (await call.console.clients.router.SetUpstreamCredential(asked)).account


async def test_account(call: Call) -> router_pb2.TestUpstreamAccountResponse:
    """Sends an upstream account one small real request."""
    asked = router_pb2.TestUpstreamAccountRequest(name=call.path("name"), model=call.body.model)
    return await call.console.clients.router.TestUpstreamAccount(asked, timeout=_TEST_S)


_ONE: Final = "/accounts/{name}"
_ACCOUNT: Final = router_pb2.UpstreamAccount

operations = (
    listing(
        "/accounts",
        "listUpstreamAccounts",
        "Upstream accounts with their health, by name",
        list_accounts,
        _ACCOUNT,
        {"search": STRING, "pool": STRING, "cooling": BOOLEAN, "disabled": BOOLEAN},
    ),
    reading(_ONE, "getUpstreamAccount", "One upstream account with its health", get_account, _ACCOUNT),
    reading(
        _ONE + "/live",
        "watchUpstreamAccount",
        "The same every two seconds, as events `account`; ends after half a minute",
        watch_account,
        _ACCOUNT,
        current=None,
        media=live.MEDIA,
    ),
    changing(
        "PUT",
        _ONE,
        "putUpstreamAccount",
        "Adds an upstream account, or replaces it",
        put_account,
        _ACCOUNT,
        body=router_pb2.PutUpstreamAccountRequest,
        needed=("account",),
        current=get_account,
    ),
    changing(
        "DELETE",
        _ONE,
        "deleteUpstreamAccount",
        "Deletes an upstream account and its credential",
        delete_account,
        current=get_account,
    ),
    changing("POST", _ONE + "/enable", "enableUpstreamAccount", "Lets it be picked", enable_account, _ACCOUNT),
    changing("POST", _ONE + "/disable", "disableUpstreamAccount", "Picks it no more", disable_account, _ACCOUNT),
    changing(
        "POST", _ONE + "/clear", "clearUpstreamAccount", "Ends its cooldowns", clear_account, _ACCOUNT, body=Family
    ),
    changing(
        "PUT",
        _ONE + "/credential",
        "setUpstreamCredential",
        "Replaces its credential",
        set_credential,
        _ACCOUNT,
        body=Credential,
    ),
    changing(
        "POST",
        _ONE + "/test",
        "testUpstreamAccount",
        "Sends it one small real request, which the provider may charge for",
        test_account,
        router_pb2.TestUpstreamAccountResponse,
        body=Tried,
    ),
)
