"""What the console is asked: every page and every list, with the filters that people use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final
from urllib.parse import urlencode

from starlette.routing import Match, Route

from bench.history import LARGE, History
from services.console.api import ROUTES as API_ROUTES
from services.console.pages import ROUTES
from services.ledger.settlement import unix_ms

USAGE: Final = "/dashboard/usage"
_ADMIN: Final = "/api/admin/v1"
_BEYOND: Final = ("/static/{name:path}", "/sign-in/provider", "/sign-in/provider/done")
"""Files, and what only exists with an OpenID Connect provider."""


class Who(Enum):
    """Who asks."""

    ANYBODY = "anybody"
    CUSTOMER = "customer of the large tenant"
    OPERATOR = "operator"
    PROGRAM = "customer's program"
    OPERATORS_PROGRAM = "operator's program"


@dataclass(frozen=True, slots=True)
class Question:
    """One address. Of a stream what counts is its first piece."""

    who: Who
    path: str
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """What stands in the paths."""

    request_id: str
    deep_request_id: str
    """One that lies two thirds down the large tenant's list."""
    deep_transaction_id: int
    account_id: str
    account: str
    model: str
    batch_id: str
    brand: str
    person_id: str


def questions(history: History, places: Places) -> list[Question]:
    """All of them. Raises LookupError when a page that exists is not among them."""
    found = [
        *(
            Question(Who.ANYBODY, path)
            for path in ("/", "/register", "/auth", "/sign-in", "/brand.css", "/favicon.ico")
        ),
        *(Question(Who.CUSTOMER, path) for path in _customer(history, places)),
        *(Question(Who.CUSTOMER, f"{USAGE}.csv?{urlencode({'range': span})}", True) for span in ("24h", "7d", "90d")),
        *(Question(Who.OPERATOR, path) for path in _operator(history, places)),
        Question(Who.OPERATOR, "/operator/fleet/live", True),
        Question(Who.OPERATOR, f"/operator/accounts/{places.account_id}/live", True),
        *(Question(Who.PROGRAM, path) for path in _program(history, places)),
        *(Question(Who.OPERATORS_PROGRAM, _ADMIN + path) for path in _operators_program(history, places)),
        Question(Who.OPERATORS_PROGRAM, f"{_ADMIN}/replicas/live", True),
        Question(Who.OPERATORS_PROGRAM, f"{_ADMIN}/accounts/{places.account}/live", True),
    ]
    missing = _unasked(found)
    if missing:
        raise LookupError(f"nobody asks for {', '.join(missing)}")
    return found


def _customer(history: History, places: Places) -> Iterator[str]:
    keys, ends = history.tenant_keys[LARGE], history.ends
    busy, quiet = keys[0], keys[-1]
    yield from ("/dashboard", "/dashboard/live?until=99999999999999", "/dashboard/models", "/dashboard/quick-start")
    yield from ("/dashboard/playground", "/settings", "/settings/codes", "/settings/tokens", "/sign-in/code")
    yield from ("/dashboard/keys", "/dashboard/keys?q=service+1", "/dashboard/keys?page=10", "/dashboard/keys/new")
    yield from (f"/dashboard/keys/{busy}", f"/dashboard/keys/delete?key={quiet}&key={busy}")
    sixty = {"since": _day(ends - timedelta(days=59)), "until": _day(ends)}
    spans = [{"range": span} for span in ("24h", "7d", "30d", "90d")] + [sixty]
    for span in spans:
        for by in ("", "key", "model"):
            yield _usage(span, by=by)
    month = spans[2]
    yield _usage(month, by="key", period="hour")
    yield _usage(month, by="model", period="hour", measure="tokens")
    for narrowed in ({"key": busy}, {"key": quiet}, {"model": places.model}, {"key": quiet, "model": places.model}):
        yield _usage(sixty, **narrowed)
    for status in ("ok", "client_fault", "orphaned", "credit_exhausted"):
        yield _usage(sixty, status=status)
    yield _usage(sixty, status="orphaned", key=quiet)
    yield _usage(sixty, after=places.deep_request_id)
    yield _usage(sixty, after=places.deep_request_id, model=places.model)
    yield _usage({"range": "24h"}, key="key_that_is_not_there")
    yield from (f"{USAGE}/{places.request_id}", f"{USAGE}/{places.request_id}/receipt")
    yield from ("/dashboard/billing", "/dashboard/billing?show=credit", "/dashboard/billing/pay?amount=10")
    yield from (f"/dashboard/billing?{more}after={places.deep_transaction_id}" for more in ("", "show=credit&"))
    payment = f"/dashboard/billing/payments/{history.payment_id(0)}"
    yield from ("/dashboard/billing/payments", payment, payment + "/standing")


def _operator(history: History, places: Places) -> Iterator[str]:
    busy = history.tenant_keys[LARGE][0]
    yield from ("/operator", "/operator/reconciliation", "/operator/pools", "/operator/plans", "/operator/prices")
    yield from ("/operator/payments", f"/operator/payments/{history.payment_id(0)}")
    yield from ("/operator/accounts", "/operator/accounts/new", f"/operator/accounts/{places.account_id}")
    yield from ("/operator/tenants", "/operator/tenants?search=17", f"/operator/tenants?after={_deep_tenant(history)}")
    yield from (f"/operator/tenants/{LARGE}", f"/operator/tenants/{_deep_tenant(history)}")
    yield f"/operator/tenants/{LARGE}/keys/{busy}"
    yield from ("/operator/models", f"/operator/models/{places.model}", f"/operator/prices/{places.model}")
    batch = f"/operator/vouchers/{places.batch_id}"
    yield from ("/operator/vouchers", "/operator/vouchers/new", batch, f"{batch}?state=redeemed", f"{batch}/export")
    yield from ("/operator/brands", "/operator/brands/new", f"/operator/brands/{places.brand}")
    yield from ("/operator/people", "/operator/people?search=person-7", f"/operator/people?after={places.person_id}")
    yield from ("/operator/audit", "/operator/audit?action=top_up", "/operator/audit?target=tenant-007")
    yield from ("/operator/audit?after=5000", "/operator/audit?actor=nobody")


def _program(history: History, places: Places) -> Iterator[str]:
    own, payments, busy = "/api/user", "/api/user/payments", history.tenant_keys[LARGE][0]
    yield from ("/api/token", "/api/token/", "/api/token/?p=5&page_size=100", "/api/token/search?keyword=service+1")
    yield from (f"/api/token/{history.tenant_keys[LARGE][0]}", f"{own}/self", "/api/openapi.json")
    yield from (f"{own}/sessions", f"{own}/codes", f"{own}/access-tokens", f"{own}/models", f"{own}/balance")
    yield from (f"{own}/top-up-ways", payments, f"{payments}/{history.payment_id(0)}", f"{own}/transactions?limit=1000")
    yield f"{own}/transactions?{urlencode({'without_usage': 'true', 'cursor': places.deep_transaction_id})}"
    yield from (f"{own}/usage/{places.request_id}", f"{own}/usage/{places.request_id}/receipt")
    for narrowed in ({}, {"key_id": busy}, {"model": places.model}, {"cursor": places.deep_request_id, "limit": 1000}):
        yield f"{own}/usage?{urlencode(narrowed)}"
    for asked in ({}, {"groups": "model"}, {"groups": "key", "period": "whole"}, {"groups": "model", "key_id": busy}):
        yield f"{own}/usage/summary?{urlencode({**asked, **_sixty_days(history)})}"


def _operators_program(history: History, places: Places) -> Iterator[str]:
    keys, sixty = history.tenant_keys[LARGE], _sixty_days(history)
    yield from ("/tenants", "/tenants?limit=1000", "/tenants?search=17", "/keys", "/keys?limit=1000")
    yield from (f"/tenants/{LARGE}", f"/tenants/{LARGE}/balance", f"/tenants/{LARGE}/transactions?limit=1000")
    yield from (f"/tenants/{LARGE}/transactions?cursor={places.deep_transaction_id}", f"/keys?tenant_id={LARGE}")
    yield from (f"/keys/{keys[0]}", "/plans", "/plans/free", "/brands", f"/brands/{places.brand}", "/pools")
    yield from ("/pools/default", "/groups", "/groups/default", "/models", f"/models/{places.model}", "/accounts")
    yield from (f"/accounts/{places.account}", "/prices", "/price-book", "/voucher-batches", "/replicas")
    yield from (f"/vouchers?batch_id={places.batch_id}&limit=1000", "/audit?limit=1000", "/audit?cursor=5000")
    yield from ("/payments", f"/payments/{history.payment_id(0)}")
    yield from ("/reconciliation", "/dead-letters", "/people", "/people?limit=1000", f"/people/{places.person_id}")
    yield f"/usage/{places.request_id}"
    for narrowed in ({}, {"key_id": keys[0]}, {"key_id": keys[-1]}, {"model": places.model}, {"status": "orphaned"}):
        yield f"/usage?{urlencode({'tenant_id': LARGE, **narrowed})}"
    yield f"/usage?{urlencode({'tenant_id': LARGE, 'limit': 1000, 'cursor': places.deep_request_id})}"
    for groups in ("", "tenant", "model", "upstream_account", "model,upstream_account"):
        yield f"/usage/summary?{urlencode({'groups': groups, **sixty})}"
    yield f"/usage/summary?{urlencode({'tenant_id': LARGE, 'groups': 'model', 'period': 'hour'})}"


def _usage(span: dict[str, str], **more: str) -> str:
    return f"{USAGE}?{urlencode({name: value for name, value in (span | more).items() if value})}"


def _sixty_days(history: History) -> dict[str, int]:
    now_ms = unix_ms(history.ends)
    return {"from_ms": now_ms - 60 * 24 * 3_600_000, "to_ms": now_ms}


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _deep_tenant(history: History) -> str:
    return f"tenant-{history.tenants // 3:03}"


def _unasked(asked: Sequence[Question]) -> list[str]:
    """The routes that no question leads to."""
    routes = [route for route in (*ROUTES, *API_ROUTES) if isinstance(route, Route) and "GET" in (route.methods or ())]
    met = set()
    for question in asked:
        scope = {"type": "http", "method": "GET", "path": question.path.partition("?")[0]}
        met.add(next((route.path for route in routes if route.matches(scope)[0] is Match.FULL), ""))
    return [route.path for route in routes if route.path not in met and route.path not in _BEYOND]
