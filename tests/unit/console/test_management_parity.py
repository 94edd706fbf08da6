"""Every button of the console is a call of the management API, and so is what its pages show: the list of them all.

Whoever adds a page says here which operation does the same, or why none can.
"""

from collections.abc import Iterator
from typing import Final

import pytest
from starlette.routing import Route

from services.console.api import OPERATIONS
from services.console.api.admin.resources import PREFIX
from services.console.pages import ROUTES

BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}
READS: Final = frozenset({"GET", "HEAD"})

CHANGES: Final = {
    "/settings/codes/begin": "beginOwnCodes",
    "/settings/codes/confirm": "confirmOwnCodes",
    "/settings/codes/drop": "dropOwnCodes",
    "/settings/password": "changeOwnPassword",
    "/settings/sessions/end-others": "endOtherOwnSessions",
    "/settings/sessions/{session_id}/end": "endOwnSession",
    "/settings/tokens": "createOwnAccessToken",
    "/settings/tokens/{token_id}/revoke": "revokeOwnAccessToken",
    "/dashboard/keys": "createOwnKey",
    "/dashboard/keys/delete": "deleteOwnKeys",
    "/dashboard/keys/{key_id}": "updateOwnKey",
    "/dashboard/keys/{key_id}/enable": "updateOwnKey",
    "/dashboard/keys/{key_id}/disable": "updateOwnKey",
    "/dashboard/keys/{key_id}/reveal": "revealOwnKey",
    "/dashboard/keys/{key_id}/delete": "deleteOwnKey",
    "/dashboard/billing/voucher": "redeemOwnVoucher",
    "/dashboard/billing/pay": "beginOwnPayment",
    "/operator/payments/{payment_id}/check": "checkPayment",
    "/operator/payments/{payment_id}/decide": "decidePayment",
    "/operator/accounts": "putUpstreamAccount",
    "/operator/accounts/{account_id}": "putUpstreamAccount",
    "/operator/accounts/{account_id}/clear": "clearUpstreamAccount",
    "/operator/accounts/{account_id}/enable": "enableUpstreamAccount",
    "/operator/accounts/{account_id}/disable": "disableUpstreamAccount",
    "/operator/accounts/{account_id}/credential": "setUpstreamCredential",
    "/operator/accounts/{account_id}/test": "testUpstreamAccount",
    "/operator/accounts/{account_id}/delete": "deleteUpstreamAccount",
    "/operator/tenants": "createTenant",
    "/operator/tenants/{tenant_id}/adjust": "adjustBalance topUp",
    "/operator/tenants/{tenant_id}/policy": "updateTenant",
    "/operator/tenants/{tenant_id}/suspend": "updateTenant",
    "/operator/tenants/{tenant_id}/resume": "updateTenant",
    "/operator/tenants/{tenant_id}/keys/{key_id}": "updateKey",
    "/operator/tenants/{tenant_id}/keys/{key_id}/enable": "updateKey",
    "/operator/tenants/{tenant_id}/keys/{key_id}/disable": "updateKey",
    "/operator/reconciliation/replay": "replayDeadLetters",
    "/operator/reconciliation/verify": "verifyBooks",
    "/operator/pools": "putPool",
    "/operator/pools/{pool}/delete": "deletePool",
    "/operator/groups": "putGroup",
    "/operator/groups/{group}/delete": "deleteGroup",
    "/operator/models/{model:path}": "putModel",
    "/operator/multipliers": "applyPriceBook",
    "/operator/costs/{model:path}": "applyPriceBook",
    "/operator/prices/{model:path}": "setPrice",
    "/operator/plans": "putPlan",
    "/operator/plans/{plan}/delete": "deletePlan",
    "/operator/vouchers": "createVouchers",
    "/operator/vouchers/{batch_id}/void": "voidVouchers",
    "/operator/brands": "putBrand",
    "/operator/brands/{brand}": "putBrand",
    "/operator/brands/{brand}/delete": "deleteBrand",
    "/operator/people/{person_id}/promote": "updatePerson",
    "/operator/people/{person_id}/demote": "updatePerson",
    "/operator/people/{person_id}/enable": "updatePerson",
    "/operator/people/{person_id}/disable": "updatePerson",
    "/operator/people/{person_id}/end-sessions": "endSessions",
}
"""By the path that a page's form is sent to, the operations that do the same."""

NO_CHANGES: Final = {
    "/register": "who registers has neither a session nor an access token; operators' programs have addPerson",
    "/sign-in": "it makes the session of a browser; programs have access tokens",
    "/sign-in/code": "as signing in, of which it is the second step",
    "/sign-out": "it takes the browser's cookie away; a session is ended by endOwnSession",
    "/webhooks/stripe": "no page sends it: the provider does, signed",
    "/webhooks/nowpayments": "no page sends it: the provider does, signed",
    "/webhooks/btcpay": "no page sends it: the provider does, signed",
}

SHOWN: Final = {
    "/settings/codes": "getOwnCodes",
    "/settings": "listOwnSessions",
    "/settings/tokens": "listOwnAccessTokens",
    "/dashboard": "getOwnBalance summarizeOwnUsage",
    "/dashboard/live": "getOwnBalance summarizeOwnUsage",
    "/dashboard/keys": "listOwnKeys searchOwnKeys",
    "/dashboard/keys/{key_id}": "getOwnKey",
    "/dashboard/usage": "listOwnUsage summarizeOwnUsage",
    "/dashboard/usage.csv": "listOwnUsage",
    "/dashboard/usage/{request_id}": "getOwnUsage",
    "/dashboard/usage/{request_id}/receipt": "getOwnReceipt",
    "/dashboard/billing": "getOwnBalance listOwnTransactions",
    "/dashboard/billing/pay": "listOwnTopUpWays",
    "/dashboard/billing/payments": "listOwnPayments",
    "/dashboard/billing/payments/{payment_id}": "getOwnPayment",
    "/dashboard/billing/payments/{payment_id}/standing": "getOwnPayment",
    "/dashboard/models": "listOwnModels",
    "/operator": "listReplicas summarizeUsage listUpstreamAccounts",
    "/operator/fleet/live": "watchReplicas",
    "/operator/payments": "listPayments",
    "/operator/payments/{payment_id}": "getPayment",
    "/operator/accounts": "listUpstreamAccounts",
    "/operator/accounts/{account_id}": "getUpstreamAccount",
    "/operator/accounts/{account_id}/live": "watchUpstreamAccount",
    "/operator/tenants": "listTenants getBalance",
    "/operator/tenants/{tenant_id}": "getTenant getBalance listKeys listTransactions summarizeUsage",
    "/operator/tenants/{tenant_id}/keys/{key_id}": "getKey",
    "/operator/reconciliation": "getReconciliation listDeadLetters",
    "/operator/pools": "listPools listGroups",
    "/operator/models": "listModels",
    "/operator/models/{model:path}": "getModel",
    "/operator/prices": "getPriceBook",
    "/operator/prices/{model:path}": "listPrices getPriceBook",
    "/operator/plans": "listPlans",
    "/operator/vouchers": "listVoucherBatches",
    "/operator/vouchers/{batch_id}": "listVoucherBatches listVouchers",
    "/operator/vouchers/{batch_id}/export": "listVouchers",
    "/operator/brands": "listBrands",
    "/operator/brands/{brand}": "getBrand",
    "/operator/people": "listPeople",
    "/operator/audit": "listAudit",
}
"""By a page's path, the operations that answer what it shows."""

NOT_SHOWN: Final = {
    "/": "the landing page shows what everybody may see",
    "/static/{name:path}": "files of the pages",
    "/brand.css": "files of the pages",
    "/favicon.ico": "files of the pages",
    "/register": "an empty form",
    "/auth": "leads to forms",
    "/sign-in": "an empty form",
    "/sign-in/code": "an empty form",
    "/sign-in/provider": "a browser's way to the provider",
    "/sign-in/provider/done": "a browser's way back",
    "/dashboard/keys/new": "an empty form",
    "/dashboard/keys/delete": "asks once more",
    "/dashboard/quick-start": "texts to paste",
    "/dashboard/playground": "asks the API with a key, from the browser",
    "/operator/accounts/new": "an empty form",
    "/operator/vouchers/new": "an empty form",
    "/operator/brands/new": "an empty form",
}


def paths(*, changes: bool) -> set[str]:
    """The paths of all pages that change something, or of all that show something."""
    return {
        route.path
        for route in ROUTES
        if isinstance(route, Route) and route.methods and bool(route.methods - READS) == changes
    }


def twins() -> Iterator[tuple[str, str, bool]]:
    """Each path with each of its operations, and whether that is to be a change."""
    for table in (CHANGES, SHOWN):
        for path, names in table.items():
            yield from ((path, name, table is CHANGES) for name in names.split())


def test_every_button_of_the_console_is_an_operation_of_the_management_api() -> None:
    assert CHANGES.keys() | NO_CHANGES.keys() == paths(changes=True)
    assert not CHANGES.keys() & NO_CHANGES.keys()


def test_what_every_page_shows_is_answered_by_the_management_api() -> None:
    assert SHOWN.keys() | NOT_SHOWN.keys() == paths(changes=False)
    assert not SHOWN.keys() & NOT_SHOWN.keys()


@pytest.mark.parametrize(("path", "name", "changes"), list(twins()))
def test_a_twin_is_there_and_for_the_same_people(path: str, name: str, changes: bool) -> None:
    operation = BY_NAME[name]
    assert operation.changes == changes
    assert operation.path.startswith(PREFIX) == path.startswith("/operator")
    assert operation.scope.for_operators == path.startswith("/operator")


def test_every_operation_has_its_page_but_for_what_only_programs_want() -> None:
    for_programs = {
        *("getMyself", "updateOwnKeyOfBody", "revealOwnKeys"),
        *("createKey", "deleteKey", "getPool", "getGroup", "getPlan", "getUsage", "listUsage"),
        *("addPerson", "getPerson"),
    }
    on_pages = {name for _, name, _ in twins()}
    assert BY_NAME.keys() - on_pages == for_programs
