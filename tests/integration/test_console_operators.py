"""Operators' pages on the real services: what they show, what they change, and who did it."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from services.shared import ids
from tests.deployment import MODEL, Deployment, eventually
from tests.visitors import Visitor, customer, operator, text_of
from tollhouse.v1 import auth_pb2, billing_pb2, ledger_pb2, router_pb2

PAGES = (
    "/operator",
    "/operator/accounts",
    "/operator/accounts/new",
    "/operator/tenants",
    "/operator/reconciliation",
    "/operator/pools",
    "/operator/models",
    "/operator/prices",
    "/operator/plans",
    "/operator/vouchers",
    "/operator/vouchers/new",
    "/operator/brands",
    "/operator/brands/new",
    "/operator/people",
    "/operator/audit",
)
SIMULATOR = {"kind": "simulator", "pool": "default", "priority": "900", "weight": "100", "enabled": "on"}


@pytest.fixture
def at(tollhouse: Deployment) -> Visitor:
    return operator(tollhouse)


@pytest.fixture
def account(tollhouse: Deployment, at: Visitor) -> Iterator[router_pb2.UpstreamAccount]:
    """An upstream account that was added by its form."""
    name = f"by-form/{ids.ulid()}"
    fields = SIMULATOR | {"name": name, "base_url": tollhouse.simulator_url, "credential": "sk-secret", "models": MODEL}
    answer = at.send("/operator/accounts/new", "/operator/accounts", **fields)
    assert answer.status_code == 303, text_of(answer)
    yield account_of(tollhouse, name)
    tollhouse.router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name=name))


def account_of(tollhouse: Deployment, name: str) -> router_pb2.UpstreamAccount:
    (found,) = tollhouse.router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest(name=name)).accounts
    return found


def deeds_at(tollhouse: Deployment, target: str) -> list[billing_pb2.AuditEntry]:
    return list(tollhouse.billing.ListAudit(billing_pb2.ListAuditRequest(target=target)).entries)


def error_of(answer: object, name: str) -> str:
    """What stands beside a field."""
    found = re.search(rf'class="error" id="{name}-said">([^<]+)', getattr(answer, "text", ""))
    assert found is not None, f"nothing is wrong with {name}"
    return found[1]


# ---- who may come ----


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_there_for_operators_and_for_nobody_else(tollhouse: Deployment, path: str) -> None:
    assert operator(tollhouse).get(path).status_code == 200
    assert customer(tollhouse).get(path).status_code == 403
    assert Visitor.of(tollhouse).get(path).status_code == 303


# ---- the fleet ----


def test_every_kind_of_process_is_on_the_fleets_page_with_what_it_says(tollhouse: Deployment, at: Visitor) -> None:
    tenant = tollhouse.tenant()
    assert tollhouse.messages(tenant.key).status == 200

    def replicas() -> dict[str, ledger_pb2.Replica]:
        listed = tollhouse.ledger.ListReplicas(ledger_pb2.ListReplicasRequest()).replicas
        return {replica.service: replica for replica in listed}

    eventually(lambda: replicas().keys() == {"edge", "auth", "router", "ledger"})
    eventually(lambda: replicas()["edge"].figures["requests"] >= 1)
    shown = text_of(at.get("/operator"))
    for replica in replicas().values():
        assert replica.name in shown
        assert replica.address in shown


def test_the_fleet_is_sent_again_and_again(at: Visitor) -> None:
    with at.client.stream("GET", "/operator/fleet/live") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        seen: list[str] = []
        for line in stream.iter_lines():
            seen.append(line)
            if seen.count("event: piece") == 2:
                break
    assert any("Edge" in line for line in seen)


# ---- upstream accounts ----


def test_an_account_keeps_what_its_form_said(tollhouse: Deployment, at: Visitor) -> None:
    name = f"full {ids.ulid()}"
    fields = SIMULATOR | {
        "name": name,
        "base_url": f"{tollhouse.simulator_url}/",
        "credential": "sk-secret",
        "models": f"{MODEL}\nalias = {MODEL}",
        "headers": "X-Team: red",
        "concurrent": "7",
        "requests_per_minute": "60",
        "input_tokens_per_minute": "100,000",
        "output_tokens_per_minute": "5000",
        "proxy": "http://proxy:3128",
        "note": "for <b>tests</b>",
        "resale_allowed": "on",
    }
    assert at.send("/operator/accounts/new", "/operator/accounts", **fields).status_code == 303
    try:
        stored = account_of(tollhouse, name)
        assert dict(stored.models) == {MODEL: MODEL, "alias": MODEL}
        assert dict(stored.headers) == {"x-team": "red"}
        assert (stored.limits.concurrent, stored.limits.input_tokens_per_minute) == (7, 100_000)
        assert (stored.proxy, stored.note, stored.resale_allowed) == ("http://proxy:3128", "for <b>tests</b>", True)
        page = at.get(f"/operator/accounts/{stored.upstream_account_id}")
        assert "for &lt;b&gt;tests&lt;/b&gt;" in page.text
        assert "sk-secret" not in page.text
        assert deeds_at(tollhouse, name)[0].actor == tollhouse.operator[0]
        assert "sk-secret" not in str(deeds_at(tollhouse, name))
    finally:
        tollhouse.router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name=name))


def test_what_is_wrong_with_an_account_stands_beside_its_field(tollhouse: Deployment, at: Visitor) -> None:
    fields = SIMULATOR | {"name": f"wrong {ids.ulid()}", "base_url": "http://x", "credential": "c", "models": MODEL}
    for name, value in (
        ("base_url", "nope"),
        ("weight", "5000"),
        ("priority", "first"),
        ("models", "a =\n"),
        ("headers", "authorization: x"),
        ("proxy", "socks5://proxy"),
        ("pool", "nowhere"),
        ("concurrent", "-1"),
    ):
        answer = at.send("/operator/accounts/new", "/operator/accounts", **(fields | {name: value}))
        assert answer.status_code == 422
        assert error_of(answer, name)


def test_a_name_that_is_taken_replaces_nobody(
    tollhouse: Deployment, at: Visitor, account: router_pb2.UpstreamAccount
) -> None:
    fields = SIMULATOR | {"name": account.name, "base_url": "http://other", "credential": "c", "models": MODEL}
    answer = at.send("/operator/accounts/new", "/operator/accounts", **fields)
    assert "of this name" in error_of(answer, "name")
    assert account_of(tollhouse, account.name).base_url == account.base_url


def test_an_account_is_changed_disabled_tried_and_deleted(
    tollhouse: Deployment, at: Visitor, account: router_pb2.UpstreamAccount
) -> None:
    path = f"/operator/accounts/{account.upstream_account_id}"
    changed = SIMULATOR | {"base_url": account.base_url, "models": MODEL, "weight": "7"}
    assert at.send(path, path, **changed).status_code == 303
    assert account_of(tollhouse, account.name).weight == 7
    assert at.send(path, f"{path}/disable").status_code == 303
    assert not account_of(tollhouse, account.name).enabled
    assert "It answered" in text_of(at.send(path, f"{path}/test", model=MODEL))
    assert at.send(path, f"{path}/credential", credential="another").status_code == 303
    assert at.send(path, f"{path}/delete").status_code == 303
    assert at.get(path).status_code == 404
    actions = [entry.action for entry in deeds_at(tollhouse, account.name)]
    assert actions == [
        "delete_upstream_account",
        "set_upstream_credential",
        "test_upstream_account",
        "disable_upstream_account",
        "change_upstream_account",
        "add_upstream_account",
    ]


def test_a_try_that_fails_says_why(tollhouse: Deployment, at: Visitor, account: router_pb2.UpstreamAccount) -> None:
    path = f"/operator/accounts/{account.upstream_account_id}"
    changed = SIMULATOR | {"base_url": "http://127.0.0.1:1", "models": MODEL}
    assert at.send(path, path, **changed).status_code == 303
    assert "Not reached" in text_of(at.send(path, f"{path}/test", model=MODEL))


def test_a_throttled_account_shows_its_countdown_until_it_is_cleared(tollhouse: Deployment, at: Visitor) -> None:
    name, model = f"throttled {ids.ulid()}", f"throttled-{ids.ulid()}"
    tollhouse.account(name, tollhouse.simulator_url, {model: MODEL}, priority=1)
    try:
        tenant = tollhouse.tenant()
        assert tollhouse.messages(tenant.key, simulator="status=429; retry_after=50", model=model).status == 429
        stored = account_of(tollhouse, name)
        path = f"/operator/accounts/{stored.upstream_account_id}"
        page = at.get(path)
        assert "data-until=" in page.text
        assert "throttled" in text_of(page)
        assert name in text_of(at.get(f"/operator/accounts?show=cooling&search={quote(name)}"))
        assert at.send(path, f"{path}/clear", family="").status_code == 303
        assert all(
            health.state != router_pb2.AccountHealth.STATE_COOLING for health in account_of(tollhouse, name).health
        )
    finally:
        tollhouse.router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name=name))


def test_accounts_are_found_and_paged(tollhouse: Deployment) -> None:
    mark = ids.ulid()
    names = [f"{mark}-{number}" for number in range(5)]
    for name in names:
        tollhouse.account(name, tollhouse.simulator_url, {MODEL: MODEL}, priority=999)
    try:
        seen: list[str] = []
        token = ""
        while True:
            page = tollhouse.router.ListUpstreamAccounts(
                router_pb2.ListUpstreamAccountsRequest(page_size=2, page_token=token, search=mark.upper())
            )
            assert page.total == 5
            seen += [account.name for account in page.accounts]
            token = page.next_page_token
            if not token:
                break
        assert seen == names
    finally:
        for name in names:
            tollhouse.router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name=name))


# ---- tenants ----


def test_tenants_are_found_and_paged_newest_first(tollhouse: Deployment) -> None:
    mark = ids.ulid()
    for number in range(3):
        tollhouse.auth.CreateTenant(auth_pb2.CreateTenantRequest(tenant_id=f"{mark}-{number}", name=f"No {number}"))
    asked = auth_pb2.ListTenantsRequest(page_size=2, search=mark, newest_first=True)
    first = tollhouse.auth.ListTenants(asked)
    assert [tenant.tenant_id for tenant in first.tenants] == [f"{mark}-2", f"{mark}-1"]
    assert first.total == 3
    asked.page_token = first.next_page_token
    last = tollhouse.auth.ListTenants(asked)
    assert [tenant.tenant_id for tenant in last.tenants] == [f"{mark}-0"]
    assert not last.next_page_token


def test_a_balance_moves_once_however_often_its_form_is_sent(tollhouse: Deployment, at: Visitor) -> None:
    tenant = tollhouse.tenant(dollars=0)
    path = f"/operator/tenants/{tenant.tenant_id}"
    form = {"move": "promotion", "amount": "2.50", "reason": "welcome", "idempotency_key": ids.ulid()}
    for _ in range(2):
        assert at.send(path, f"{path}/adjust", **form).status_code == 303
    assert tollhouse.balance_nano(tenant.tenant_id) == 2_500_000_000
    (entry,) = [entry for entry in deeds_at(tollhouse, tenant.tenant_id) if entry.action == "promotion"]
    assert (entry.actor, entry.reason) == (tollhouse.operator[0], "welcome")
    assert "$2.50" in text_of(at.get(f"/operator/tenants?search={tenant.tenant_id}"))


def test_what_is_wrong_with_an_adjustment_stands_beside_its_field(tollhouse: Deployment, at: Visitor) -> None:
    tenant = tollhouse.tenant(dollars=1)
    path = f"/operator/tenants/{tenant.tenant_id}"
    form = {"move": "refund", "amount": "5", "reason": "back", "idempotency_key": ids.ulid()}
    assert "$1.00" in error_of(at.send(path, f"{path}/adjust", **form), "amount")
    assert error_of(at.send(path, f"{path}/adjust", **(form | {"reason": " "})), "reason")
    assert error_of(at.send(path, f"{path}/adjust", **(form | {"amount": "much"})), "amount")
    assert tollhouse.balance_nano(tenant.tenant_id) == 1_000_000_000


def test_nobody_who_is_no_tenant_gets_a_balance(at: Visitor) -> None:
    form = {"move": "top_up", "amount": "5", "reason": "typo", "idempotency_key": ids.ulid()}
    assert at.send("/operator/tenants", "/operator/tenants/nobody-at-all/adjust", **form).status_code == 404


def test_a_suspended_tenant_is_refused_until_it_is_resumed(tollhouse: Deployment, at: Visitor) -> None:
    tenant = tollhouse.tenant()
    path = f"/operator/tenants/{tenant.tenant_id}"
    assert at.send(path, f"{path}/suspend", reason="abuse").status_code == 303
    eventually(lambda: tollhouse.messages(tenant.key).status == 403)
    assert deeds_at(tollhouse, tenant.tenant_id)[0].reason == "abuse"
    assert at.send(path, f"{path}/resume").status_code == 303
    eventually(lambda: tollhouse.messages(tenant.key).status == 200)


def test_plans_and_limits_reach_tenants_and_keys(tollhouse: Deployment, at: Visitor) -> None:
    tenant, plan = tollhouse.tenant(), f"plan-{ids.ulid()}"
    assert error_of(at.send("/operator/plans", "/operator/plans", plan=plan, limits="requests many"), "limits")
    assert at.send("/operator/plans", "/operator/plans", plan=plan, limits="requests 60").status_code == 303
    path = f"/operator/tenants/{tenant.tenant_id}"
    assert at.send(path, f"{path}/policy", plan=plan, limits=f"tokens 9 {MODEL}").status_code == 303
    stored = tollhouse.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=tenant.tenant_id)).tenant
    assert (stored.plan, stored.limits[0].amount, stored.limits[0].model) == (plan, 9, MODEL)
    key = f"{path}/keys/{tenant.key_id}"
    assert at.send(key, key, group="default", plan=plan, limits="concurrent 2").status_code == 303
    assert "concurrent 2" in at.get(key).text
    refused = at.send("/operator/plans", f"/operator/plans/{plan}/delete")
    assert refused.status_code == 422
    assert "in use" in text_of(refused)


def test_a_key_is_found_under_its_own_tenant_only(tollhouse: Deployment, at: Visitor) -> None:
    mine, other = tollhouse.tenant(dollars=0), tollhouse.tenant(dollars=0)
    assert at.get(f"/operator/tenants/{mine.tenant_id}/keys/{mine.key_id}").status_code == 200
    assert at.get(f"/operator/tenants/{other.tenant_id}/keys/{mine.key_id}").status_code == 404


# ---- money ----


def test_vouchers_are_made_once_exported_paged_and_voided(tollhouse: Deployment, at: Visitor) -> None:
    batch = f"batch-{ids.ulid()}"
    form = {"count": "60", "amount": "10", "funding": "sold", "batch_id": batch, "reason": "fair"}
    made = at.send("/operator/vouchers/new", "/operator/vouchers", **form)
    codes = set(re.findall(r"TH(?:-[0-9A-Z]{5}){5}", made.text))
    assert len(codes) == 60
    again = at.send("/operator/vouchers/new", "/operator/vouchers", **form)
    assert again.headers["location"] == f"/operator/vouchers/{batch}"
    path = f"/operator/vouchers/{batch}"
    first = at.get(path)
    onward = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert onward is not None
    assert at.get(onward[1].replace("&amp;", "&")).text.count(">open<") - first.text.count(">open<") == -40
    exported = at.get(f"{path}/export").text.splitlines()
    assert len(exported) == 61
    assert not any(code in line for code in codes for line in exported)
    assert at.send(path, f"{path}/void", reason="lost").status_code == 303
    (listed,) = tollhouse.billing.ListVoucherBatches(billing_pb2.ListVoucherBatchesRequest(batch_id=batch)).batches
    assert (listed.vouchers, listed.redeemed, listed.voided) == (60, 0, 60)


def test_vouchers_can_be_had_as_a_file_when_they_are_made(at: Visitor) -> None:
    form = {"count": "3", "amount": "0.50", "funding": "gift", "batch_id": f"file-{ids.ulid()}", "as": "csv"}
    made = at.send("/operator/vouchers/new", "/operator/vouchers", **form)
    assert made.headers["content-type"].startswith("text/csv")
    assert len(made.text.splitlines()) == 4


def test_what_is_wrong_with_a_batch_stands_beside_its_field(at: Visitor) -> None:
    form = {"count": "0", "amount": "x", "funding": "", "batch_id": "", "expires": "2001-01-01T00:00"}
    answer = at.send("/operator/vouchers/new", "/operator/vouchers", **form)
    for name in ("count", "amount", "funding", "batch_id", "expires"):
        assert error_of(answer, name)


def test_a_price_may_come_later_and_its_margin_is_shown(tollhouse: Deployment, at: Visitor) -> None:
    model = f"vendor/{ids.ulid()}"
    path = f"/operator/prices/{model}"
    assert error_of(at.send(path, path, input="3", output="x"), "output")
    assert at.send(path, path, input="4", output="20").status_code == 303
    assert at.send(path, path, input="5", output="25", effective="2090-01-01T00:00").status_code == 303
    assert at.send(path, f"/operator/costs/{model}", input="3", output="22").status_code == 303
    rows = [
        price for price in tollhouse.billing.ListPrices(billing_pb2.ListPricesRequest()).prices if price.model == model
    ]
    assert [price.input_pico for price in rows] == [4_000_000, 5_000_000]
    assert rows[0].cache_read_pico == 400_000
    listed = text_of(at.get("/operator/prices"))
    assert f"{model} 4 20 0.4 3 22 25.0 % -10.0 % at a loss changes later" in listed
    assert error_of(at.send(path, f"/operator/costs/{model}", input="1", account="nobody here"), "account")


def test_a_multiplier_is_for_somebody(tollhouse: Deployment, at: Visitor) -> None:
    form = {"scope": "plan", "multiplier_name": f"plan-{ids.ulid()}", "factor": "80%"}
    assert at.send("/operator/prices", "/operator/multipliers", **form).status_code == 303
    found = tollhouse.billing.ListPrices(billing_pb2.ListPricesRequest()).multipliers
    assert [row.ppm for row in found if row.name == form["multiplier_name"]] == [800_000]
    nobody = at.send("/operator/prices", "/operator/multipliers", **(form | {"multiplier_name": ""}))
    assert error_of(nobody, "multiplier_name")


# ---- routing, brands, people ----


def test_pools_and_groups_are_made_and_deleted(tollhouse: Deployment, at: Visitor) -> None:
    pool, group = f"pool-{ids.ulid()}", f"group-{ids.ulid()}"
    page = "/operator/pools"
    assert error_of(at.send(page, page, pool="UPPER"), "pool")
    assert at.send(page, page, pool=pool).status_code == 303
    assert error_of(at.send(page, "/operator/groups", group=group, pools="nowhere"), "pools")
    assert at.send(page, "/operator/groups", group=group, pools=f"{pool}\ndefault").status_code == 303
    refused = at.send(page, f"{page}/{pool}/delete")
    assert "stands in the group" in text_of(refused)
    assert at.send(page, f"/operator/groups/{group}/delete").status_code == 303
    assert at.send(page, f"{page}/{pool}/delete").status_code == 303
    assert deeds_at(tollhouse, pool)[0].action == "delete_pool"


def test_a_model_is_named_and_timed(tollhouse: Deployment, at: Visitor) -> None:
    path = f"/operator/models/{MODEL}"
    before = next(
        model for model in tollhouse.router.ListModels(router_pb2.ListModelsRequest()).models if model.model == MODEL
    )
    try:
        assert error_of(at.send(path, path, idle_ms="soon"), "idle_ms")
        assert at.send(path, path, display_name="A <i>name</i>", idle_ms="30000").status_code == 303
        page = at.get("/operator/models")
        assert "A &lt;i&gt;name&lt;/i&gt;" in page.text
        assert at.get("/operator/models/no-such-model").status_code == 404
    finally:
        tollhouse.router.PutModel(router_pb2.PutModelRequest(model=before))


def test_a_brand_is_made_changed_and_deleted(tollhouse: Deployment, at: Visitor) -> None:
    name = f"brand-{ids.ulid()}"
    form = {"name": name, "title": "A house", "hosts": f"{name}.example", "accent": "#224488", "top_up_card": "on"}
    assert error_of(at.send("/operator/brands/new", "/operator/brands", **(form | {"accent": "green"})), "accent")
    assert at.send("/operator/brands/new", "/operator/brands", **form).status_code == 303
    path = f"/operator/brands/{name}"
    assert at.send(path, path, title="Another", words="key = token").status_code == 303
    (stored,) = [b for b in tollhouse.auth.ListBrands(auth_pb2.ListBrandsRequest()).brands if b.name == name]
    assert (stored.title, dict(stored.words), list(stored.top_ups)) == ("Another", {"key": "token"}, [])
    assert at.send(path, f"{path}/delete").status_code == 303
    assert at.get(path).status_code == 404


def test_a_person_becomes_an_operator_and_is_shut_out(tollhouse: Deployment, at: Visitor) -> None:
    visitor = customer(tollhouse)
    email = f"customer-{visitor.address}@tests.example"
    found = re.search(r"/operator/people/(person_\w+)/promote", at.get(f"/operator/people?search={quote(email)}").text)
    assert found is not None
    path = f"/operator/people/{found[1]}"
    assert visitor.get("/operator").status_code == 403
    assert at.send("/operator/people", f"{path}/promote").status_code == 303
    assert visitor.get("/operator").status_code == 200
    assert at.send("/operator/people", f"{path}/demote").status_code == 303
    assert visitor.get("/operator").status_code == 403
    assert at.send("/operator/people", f"{path}/disable").status_code == 303
    assert not visitor.is_signed_in
    assert [entry.action for entry in deeds_at(tollhouse, email)] == ["disable_person", "set_role", "set_role"]


def test_nobody_changes_themselves(tollhouse: Deployment, at: Visitor) -> None:
    visitor = customer(tollhouse)
    email = f"customer-{visitor.address}@tests.example"
    found = re.search(r"/operator/people/(person_\w+)/promote", at.get(f"/operator/people?search={quote(email)}").text)
    assert found is not None
    at.send("/operator/people", f"/operator/people/{found[1]}/promote")
    assert visitor.send("/operator/people", f"/operator/people/{found[1]}/demote").status_code == 403


# ---- the audit log, reconciliation ----


def test_the_audit_log_is_filtered_and_paged(tollhouse: Deployment, at: Visitor) -> None:
    target = f"target-{ids.ulid()}"
    for number in range(60):
        deed = billing_pb2.RecordDeedRequest(
            idempotency_key=f"{target}-{number}", actor="test", action="try", target=target, reason=f"no {number}"
        )
        for _ in range(2):
            tollhouse.billing.RecordDeed(deed)
    assert len(deeds_at(tollhouse, target)) == 60
    first = at.get(f"/operator/audit?target={target}&actor=test&action=try")
    assert "no 59" in first.text
    assert "no 9<" not in first.text
    onward = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert onward is not None
    assert "no 9<" in at.get(onward[1].replace("&amp;", "&")).text
    assert "Nothing here" in text_of(at.get(f"/operator/audit?target={target}&actor=somebody-else"))


def test_a_deed_that_was_refused_is_noted_as_that(tollhouse: Deployment, at: Visitor) -> None:
    pool = f"UPPER-{ids.ulid()}"
    at.send("/operator/pools", "/operator/pools", pool=pool)
    assert [entry.action for entry in deeds_at(tollhouse, pool)] == ["put_pool_refused", "put_pool"]


def test_reconciliation_counts_what_is_in_the_books_and_verifies_them(tollhouse: Deployment, at: Visitor) -> None:
    found = tollhouse.ledger.GetReconciliation(ledger_pb2.GetReconciliationRequest())
    shown = text_of(at.get("/operator/reconciliation"))
    assert f"Dead letters {found.dead_letters}" in shown
    verified = text_of(at.send("/operator/reconciliation", "/operator/reconciliation/verify"))
    assert "Every balance is the sum of its entries holds" in verified


def test_a_dead_letter_that_is_not_there_cannot_be_replayed(at: Visitor) -> None:
    answer = at.send("/operator/reconciliation", "/operator/reconciliation/replay", sequence="999999999")
    assert answer.status_code == 422
    assert "no dead letter" in text_of(answer)
