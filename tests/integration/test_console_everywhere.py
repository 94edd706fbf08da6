"""What holds on every page, whoever added it: pages are found by following links, and asked for as whom they are not
for, with what people chose to hurt others in every text."""

import re
from html.parser import HTMLParser

import pytest

from services.console.pages import ROUTES
from services.shared import ids
from tests.deployment import Deployment
from tests.places import PUBLIC, pattern, places
from tests.visitors import Visitor, customer
from tollhouse.v1 import auth_pb2, billing_pb2, router_pb2

BAD = "<img src=x onerror=alert(1)>\"'`{{7*7}}"


class Dangers(HTMLParser):
    """What a browser would run, or take for more than text: as it reads the page, so what is escaped is none."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        inline = tag == "style" or (tag == "script" and "src" not in said)
        handlers = [name for name in said if name.startswith("on") or name in ("style", "srcdoc")]
        leads = [value for value in said.values() if (value or "").strip().lower().startswith("javascript:")]
        if inline or handlers or leads or said.get("src") == "x":
            self.found.append(self.get_starttag_text() or tag)


@pytest.fixture(scope="module")
def boss(tollhouse: Deployment) -> Visitor:
    """The operator, whose tenant and gateway have names that nobody should have chosen."""
    tenant = "demo"
    tollhouse.auth.CreateKey(auth_pb2.CreateKeyRequest(tenant_id=tenant, name=BAD[:50]))
    tollhouse.auth.CreateTenant(auth_pb2.CreateTenantRequest(tenant_id=f"t-{ids.ulid()}", name=BAD))
    tollhouse.billing.TopUp(
        billing_pb2.TopUpRequest(tenant_id=tenant, amount_nano=1, idempotency_key=ids.ulid(), reason=BAD, actor=BAD)
    )
    tollhouse.billing.CreateVouchers(
        billing_pb2.CreateVouchersRequest(
            count=1,
            amount_nano=1,
            funding=billing_pb2.VOUCHER_FUNDING_GIFT,
            batch_id=f"{BAD} {ids.ulid()}",
            reason=BAD,
            actor=BAD,
        )
    )
    account = router_pb2.UpstreamAccount(
        name=f"{BAD} {ids.ulid()}",
        kind=router_pb2.UPSTREAM_KIND_ANTHROPIC,
        note=BAD,
        base_url=tollhouse.simulator_url,
        models={"a-model": "a-model"},
        enabled=False,
    )
    tollhouse.router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=account, credential="secret"))
    tollhouse.router.PutModel(
        router_pb2.PutModelRequest(model=router_pb2.Model(model="a-model", family="a-model", display_name=BAD))
    )
    assert tollhouse.messages(tollhouse.key).status == 200
    visitor = Visitor.of(tollhouse, **{"user-agent": BAD})
    assert visitor.sign_in(*tollhouse.operator).status_code == 303
    return visitor


def everywhere(boss: Visitor) -> list[str]:
    return places(boss, "/dashboard", "/settings", "/operator")


def test_what_people_chose_is_text_on_every_page(boss: Visitor) -> None:
    shown = 0
    for path in everywhere(boss):
        page = boss.get(path).text
        assert not Dangers(page).found, path
        assert "`49" not in page, path
        shown += "&lt;img src=x" in page
    assert shown > 0, "no page shows what people chose"


def test_what_a_link_says_is_text_on_every_page(boss: Visitor) -> None:
    names = ("q", "state", "tenant", "before", "key", "model", "from", "to", "next", "show", "page", "cursor", "family")
    query = dict.fromkeys(names, BAD)
    for path in (*PUBLIC, *everywhere(boss)):
        answer = boss.get(path.partition("?")[0], params=query)
        assert answer.status_code < 500, path
        assert not Dangers(answer.text).found, path


def test_what_a_link_says_leads_to_no_other_site(boss: Visitor) -> None:
    for path in (*PUBLIC, *everywhere(boss)):
        for name in ("next", "url", "return", "redirect", "to"):
            answer = boss.get(path.partition("?")[0], params={name: "//evil.example/x"})
            assert "evil.example" not in answer.headers.get("location", ""), path


def test_what_is_of_one_tenant_is_not_there_for_another(tollhouse: Deployment, boss: Visitor) -> None:
    stranger = customer(tollhouse)
    of_somebody = [path for path in places(boss, "/dashboard") if "*" in pattern(path)]
    for path in of_somebody:
        if path.startswith("/dashboard"):
            assert stranger.get(path).status_code == 404, path


def test_operators_pages_are_for_operators(tollhouse: Deployment, boss: Visitor) -> None:
    stranger, nobody = customer(tollhouse), Visitor.of(tollhouse)
    for path in places(boss, "/operator"):
        if path.startswith("/operator"):
            assert stranger.get(path).status_code == 403, path
            assert nobody.get(path).headers["location"].startswith("/sign-in?"), path


def test_every_change_needs_the_token_of_the_session(boss: Visitor) -> None:
    changes = [route for route in ROUTES if "POST" in (getattr(route, "methods", None) or ())]
    assert changes
    for route in changes:
        path = re.sub(r"\{[^}]+\}", "x", str(getattr(route, "path", "")))
        if not path.startswith(("/webhooks/", "/api/")):
            assert boss.client.post(path, data={"csrf_token": "x"}).status_code == 403, path


def test_every_page_has_the_headers_of_a_good_grade(boss: Visitor) -> None:
    for path in (*PUBLIC, *everywhere(boss)):
        headers = boss.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'", path
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'", path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY", path
        assert headers["referrer-policy"] == "same-origin", path
        assert headers["cross-origin-opener-policy"] == "same-origin", path
        assert "no-store" in headers["cache-control"] or path in PUBLIC, path
