"""Upstream accounts: found, added, changed, tried; their health while one looks."""

import asyncio
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, live
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import account_form, lists
from services.console.rendering import redirect
from services.shared import clock
from services.shared.errors import Refusal
from tollhouse.v1 import router_pb2

_PATH = "/operator/accounts"
_TEST_S = 25.0
_REMEMBERED_LENGTH = 500


async def show(request: Request) -> Response:
    """The list."""
    asked = lists.asked_of(request, "search", "pool", "show")
    listed, pools = await asyncio.gather(
        console_of(request).clients.router.ListUpstreamAccounts(
            router_pb2.ListUpstreamAccountsRequest(
                page_size=lists.SHOWN,
                page_token=asked.token,
                search=asked["search"],
                pool=asked["pool"],
                cooling=asked["show"] == "cooling",
                disabled=asked["show"] == "disabled",
            )
        ),
        _pools(request),
    )
    return _page(request, "operators/accounts.html", asked=asked, listed=listed, pools=pools, kinds=account_form.KINDS)


async def new(request: Request) -> Response:
    """The form of a new account."""
    return await _form_page(request, Form(dict(account_form.NEW)))


async def add(request: Request) -> Response:
    """Adds an account, unless its name is taken."""
    form = await Form.read(request, *account_form.FIELDS)
    account = account_form.account_of(form)
    if not form["credential"]:
        form.wrong("credential", "A new account needs one.")
    if account.name and await _found(request, name=account.name):
        form.wrong("name", "There is an upstream account of this name.")
    if form.errors:
        return await _form_page(request, form, status=422)
    stored = await _put(request, form, account, "add_upstream_account")
    if stored is None:
        return await _form_page(request, form, status=422)
    return redirect(request, f"{_PATH}/{stored.upstream_account_id}", "added")


async def one(request: Request) -> Response:
    """One account, its health, and its form."""
    account = await _account(request)
    return await _form_page(request, account_form.form_of(account), account)


async def change(request: Request) -> Response:
    """Replaces every field of an account but its name and credential."""
    before = await _account(request)
    form = await Form.read(request, *account_form.FIELDS)
    form.values["name"] = before.name
    account = account_form.account_of(form)
    if form.errors or await _put(request, form, account, "change_upstream_account") is None:
        return await _form_page(request, form, before, status=422)
    return redirect(request, f"{_PATH}/{before.upstream_account_id}", "saved")


async def watch(request: Request) -> Response:
    """An account's health, again and again."""
    await _account(request)
    return live.stream(request, lambda: _health(request))


async def clear(request: Request) -> Response:
    """Ends the cooldowns of an account, of one family or of all."""
    account, form = await _account(request), await Form.read(request, "family")
    asked = router_pb2.ClearUpstreamAccountRequest(name=account.name, family=form["family"])
    change = partial(console_of(request).clients.router.ClearUpstreamAccount, asked)
    await deeds.done(request, "clear_upstream_account", account.name, change, family=form["family"] or "all")
    return _back(request, account, "cleared")


async def enable(request: Request) -> Response:
    """Lets an account be picked."""
    return await _set_enabled(request, enabled=True)


async def disable(request: Request) -> Response:
    """Keeps an account from being picked."""
    return await _set_enabled(request, enabled=False)


async def replace_credential(request: Request) -> Response:
    """Replaces what the account is authenticated with. Neither the old nor the new one is shown or logged."""
    account, form = await _account(request), await Form.read(request, "credential")
    asked = router_pb2.SetUpstreamCredentialRequest(name=account.name, credential=form["credential"])
    try:
        change = partial(console_of(request).clients.router.SetUpstreamCredential, asked)
        await deeds.done(request, "set_upstream_credential", account.name, change)
    except Refusal as refusal:
        shown = account_form.form_of(account)
        deeds.beside(shown, refusal, credential="credential")
        return await _form_page(request, shown, account, status=422)
    return _back(request, account, "credential_replaced")


async def delete(request: Request) -> Response:
    """Deletes an account and its credential."""
    account = await _account(request)
    asked = router_pb2.DeleteUpstreamAccountRequest(name=account.name)
    change = partial(console_of(request).clients.router.DeleteUpstreamAccount, asked)
    await deeds.done(request, "delete_upstream_account", account.name, change, base_url=account.base_url)
    return redirect(request, _PATH, "deleted")


async def test(request: Request) -> Response:
    """Sends one small real request there, and shows what came of it."""
    account, form = await _account(request), await Form.read(request, "model")
    asked = router_pb2.TestUpstreamAccountRequest(name=account.name, model=form["model"])
    change = partial(console_of(request).clients.router.TestUpstreamAccount, asked, timeout=_TEST_S)
    found = await deeds.done(request, "test_upstream_account", account.name, change, model=form["model"] or "-")
    if request.headers.get("hx-request"):
        return _page(request, "operators/account_tested.html", tested=found)
    return await _form_page(request, account_form.form_of(account), account, tested=found)


async def _set_enabled(request: Request, *, enabled: bool) -> Response:
    account = await _account(request)
    asked = router_pb2.SetUpstreamAccountEnabledRequest(name=account.name, enabled=enabled)
    change = partial(console_of(request).clients.router.SetUpstreamAccountEnabled, asked)
    action = "enable" if enabled else "disable"
    await deeds.done(request, f"{action}_upstream_account", account.name, change)
    return _back(request, account, "enabled" if enabled else "disabled")


async def _put(
    request: Request, form: Form, account: router_pb2.UpstreamAccount, action: str
) -> router_pb2.UpstreamAccount | None:
    """Stores an account; None where the router refused a field, which is noted then."""
    credential = form["credential"] if action == "add_upstream_account" else ""
    asked = router_pb2.PutUpstreamAccountRequest(account=account, credential=credential)
    details = {name: form[name][:_REMEMBERED_LENGTH] for name in account_form.FIELDS if name not in _NOT_LOGGED}
    try:
        change = partial(console_of(request).clients.router.PutUpstreamAccount, asked)
        return (await deeds.done(request, action, account.name, change, **details)).account
    except Refusal as refusal:
        deeds.beside(form, refusal, **account_form.WORDS)
        return None


_NOT_LOGGED = frozenset(("name", "credential", "headers"))  # headers may hold secrets


async def _account(request: Request) -> router_pb2.UpstreamAccount:
    found = await _found(request, upstream_account_id=request.path_params["account_id"])
    if found is None:
        raise HTTPException(404)
    return found


async def _found(request: Request, name: str = "", upstream_account_id: str = "") -> router_pb2.UpstreamAccount | None:
    asked = router_pb2.ListUpstreamAccountsRequest(page_size=1, name=name, upstream_account_id=upstream_account_id)
    listed = await console_of(request).clients.router.ListUpstreamAccounts(asked)
    return listed.accounts[0] if listed.accounts else None


async def _pools(request: Request) -> list[str]:
    listed = await console_of(request).clients.router.ListPools(router_pb2.ListPoolsRequest())
    return [pool.name for pool in listed.pools]


async def _health(request: Request) -> str:
    account = await _account(request)
    return console_of(request).renderer.piece(request, "operators/account_health.html", **_of_health(account))


def _of_health(account: router_pb2.UpstreamAccount) -> dict[str, Any]:
    return {"account": account, "now_ms": clock.now_ms()}


async def _form_page(
    request: Request,
    form: Form,
    account: router_pb2.UpstreamAccount | None = None,
    status: int = 200,
    tested: router_pb2.TestUpstreamAccountResponse | None = None,
) -> Response:
    health = _of_health(account) if account else {"account": None}
    return _page(
        request,
        "operators/account.html",
        status,
        form=form,
        pools=await _pools(request),
        kinds=account_form.KINDS,
        tested=tested,
        **health,
    )


def _page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    return console_of(request).renderer.page(request, template, status, **context)


def _back(request: Request, account: router_pb2.UpstreamAccount, notice: str) -> Response:
    return redirect(request, f"{_PATH}/{account.upstream_account_id}", notice)


_ONE = f"{_PATH}/{{account_id}}"
routes = [
    operator(_PATH, show),
    operator(_PATH, add, ["POST"]),
    operator(f"{_PATH}/new", new),
    operator(_ONE, one),
    operator(_ONE, change, ["POST"]),
    operator(f"{_ONE}/live", watch),
    operator(f"{_ONE}/clear", clear, ["POST"]),
    operator(f"{_ONE}/enable", enable, ["POST"]),
    operator(f"{_ONE}/disable", disable, ["POST"]),
    operator(f"{_ONE}/credential", replace_credential, ["POST"]),
    operator(f"{_ONE}/test", test, ["POST"]),
    operator(f"{_ONE}/delete", delete, ["POST"]),
]
