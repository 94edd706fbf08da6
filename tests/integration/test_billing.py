"""Prices, vouchers and money that moves by hand, over gRPC and the command line."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.shared import clock, ids
from tests.deployment import COMMAND, SONNET_NANO, Deployment, deployed, eventually
from tollhouse.v1 import auth_pb2, billing_pb2, ledger_pb2, usage_pb2

DOLLAR_NANO = 1_000_000_000


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with deployed(tmp_path_factory.mktemp("billing") / "state") as tollhouse:
        yield tollhouse


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Results, or gRPC status codes, of calls made side by side."""

    def answer(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except grpc.RpcError as error:
            return error.code()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(answer, calls))


def run(tollhouse: Deployment, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *words, "--state-dir", str(tollhouse.state_dir)], capture_output=True, text=True, timeout=60
    )


def said(tollhouse: Deployment, *words: str) -> str:
    done = run(tollhouse, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def vouchers(tollhouse: Deployment, count: int, dollars: int = 5, **fields: Any) -> list[str]:
    request = billing_pb2.CreateVouchersRequest(
        count=count,
        amount_nano=dollars * DOLLAR_NANO,
        funding=billing_pb2.VOUCHER_FUNDING_GIFT,
        batch_id=f"b-{ids.ulid()}",
        reason="test",
        actor="test",
    )
    request.MergeFrom(billing_pb2.CreateVouchersRequest(**fields))
    return list(tollhouse.billing.CreateVouchers(request).codes)


def redeem(tollhouse: Deployment, tenant_id: str, code: str) -> billing_pb2.RedeemVoucherResponse:
    request = billing_pb2.RedeemVoucherRequest(tenant_id=tenant_id, code=code, actor="test")
    answer: billing_pb2.RedeemVoucherResponse = tollhouse.billing.RedeemVoucher(request)
    return answer


def adjust(
    tollhouse: Deployment, tenant_id: str, kind: billing_pb2.AdjustmentKind.ValueType, dollars: float, key: str = ""
) -> billing_pb2.AdjustResponse:
    request = billing_pb2.AdjustRequest(
        tenant_id=tenant_id,
        kind=kind,
        amount_nano=round(dollars * DOLLAR_NANO),
        idempotency_key=key or ids.ulid(),
        reason="test",
        actor="alice",
    )
    answer: billing_pb2.AdjustResponse = tollhouse.billing.Adjust(request)
    return answer


def books_agree(tollhouse: Deployment) -> bool:
    checks = tollhouse.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest()).checks
    return not any(check.differences for check in checks)


def test_fifty_top_ups_under_one_key_credit_once(own: Deployment) -> None:
    tenant = own.tenant(dollars=0)
    request = billing_pb2.TopUpRequest(
        tenant_id=tenant.tenant_id, amount_nano=7, idempotency_key="k", reason="test", actor="test"
    )
    answers = at_once([lambda: own.billing.TopUp(request)] * 50)
    assert Counter(answer.repeated for answer in answers) == {False: 1, True: 49}
    assert own.balance_nano(tenant.tenant_id) == 7


def test_a_key_that_stands_for_something_else_is_refused(own: Deployment) -> None:
    tenant = own.tenant(dollars=0)
    adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_PROMOTION, 1, key="k")
    assert adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_PROMOTION, 1, key="k").repeated
    for kind, dollars in ((billing_pb2.ADJUSTMENT_KIND_PROMOTION, 2), (billing_pb2.ADJUSTMENT_KIND_CREDIT, 1)):
        with pytest.raises(grpc.RpcError, match="idempotency_key was used"):
            adjust(own, tenant.tenant_id, kind, dollars, key="k")
    adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_CREDIT, 1, key="back and forth")
    with pytest.raises(grpc.RpcError, match="idempotency_key was used"):
        adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_DEBIT, 1, key="back and forth")
    assert own.balance_nano(tenant.tenant_id) == 2 * DOLLAR_NANO


def test_only_a_transaction_of_the_tenant_is_corrected(own: Deployment) -> None:
    tenant, other = own.tenant(dollars=0), own.tenant(dollars=0)
    theirs = adjust(own, other.tenant_id, billing_pb2.ADJUSTMENT_KIND_CREDIT, 1).transaction_id
    ours = adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_CREDIT, 1).transaction_id
    request = billing_pb2.AdjustRequest(
        tenant_id=tenant.tenant_id,
        kind=billing_pb2.ADJUSTMENT_KIND_DEBIT,
        amount_nano=1,
        idempotency_key="fix",
        reason="test",
        actor="test",
    )
    for request.corrects_transaction_id in (theirs, 1 << 40):
        with pytest.raises(grpc.RpcError, match="no transaction of this tenant"):
            own.billing.Adjust(request)
    request.corrects_transaction_id = ours
    assert not own.billing.Adjust(request).repeated


def test_one_voucher_under_fifty_attempts_of_several_tenants_is_credited_once(own: Deployment) -> None:
    (code,) = vouchers(own, 1)
    tenants = [own.tenant(dollars=0).tenant_id for _ in range(5)]
    answers = at_once([lambda tenant=tenant: redeem(own, tenant, code) for tenant in tenants * 10])  # type: ignore[misc]
    won = [answer for answer in answers if isinstance(answer, billing_pb2.RedeemVoucherResponse)]
    assert Counter(answer.repeated for answer in won) == {False: 1, True: 9}
    refused = [answer for answer in answers if answer not in won]
    assert set(refused) == {grpc.StatusCode.FAILED_PRECONDITION}
    assert sorted(own.balance_nano(tenant) for tenant in tenants) == [0, 0, 0, 0, 5 * DOLLAR_NANO]
    assert books_agree(own)


def test_vouchers_that_cannot_be_redeemed_say_why(own: Deployment) -> None:
    tenant = own.tenant(dollars=0).tenant_id
    (void,) = vouchers(own, 1, batch_id="to-void")
    request = billing_pb2.VoidVouchersRequest(batch_id="to-void", reason="test", actor="test")
    assert own.billing.VoidVouchers(request).voided == 1
    (short,) = vouchers(own, 1, expires_ms=clock.now_ms() + 300)
    time.sleep(0.4)
    for code, why in ((void, "is void"), (short, "is expired"), ("TH-00000-00000-00000-00000-00000", "no voucher")):
        with pytest.raises(grpc.RpcError, match=why):
            redeem(own, tenant, code)
    listed = own.billing.ListVouchers(billing_pb2.ListVouchersRequest(batch_id="to-void")).vouchers
    assert [voucher.state for voucher in listed] == ["void"]
    assert not vouchers(own, 1, batch_id="to-void")  # made once
    with pytest.raises(grpc.RpcError, match="batch_id was used"):
        vouchers(own, 3, batch_id="to-void")
    assert own.balance_nano(tenant) == 0


def test_what_is_set_aside_for_requests_is_not_refunded(own: Deployment) -> None:
    tenant = own.tenant(dollars=3)
    raised = ledger_pb2.RaiseGrantRequest(
        grant_id=ids.ulid(), tenant_id=tenant.tenant_id, holder="test", want_nano=2 * DOLLAR_NANO
    )
    own.ledger.RaiseGrant(raised)
    with pytest.raises(grpc.RpcError, match=r"only \$1.00 of the balance"):
        adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_REFUND, 1.5)
    assert adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_REFUND, 1).balance_nano == 2 * DOLLAR_NANO


def test_a_balances_history_explains_it_and_the_audit_log_says_who(own: Deployment) -> None:
    tenant = own.tenant(dollars=2)
    gift = adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_PROMOTION, 1)
    adjust(own, tenant.tenant_id, billing_pb2.ADJUSTMENT_KIND_DEBIT, 0.5)
    assert own.messages(tenant.key).status == 200
    eventually(lambda: len(own.usages(tenant.tenant_id)) == 1)
    request = billing_pb2.ListTransactionsRequest(tenant_id=tenant.tenant_id, page_size=3)
    first = own.billing.ListTransactions(request)
    request.page_token = first.next_page_token
    rest = own.billing.ListTransactions(request)
    history = [*first.transactions, *rest.transactions]
    assert [made.kind for made in history] == ["usage", "adjustment", "promotion", "top_up"]
    assert sum(made.amount_nano for made in history) == own.balance_nano(tenant.tenant_id)
    assert history[2].transaction_id == gift.transaction_id
    audit = own.billing.ListAudit(billing_pb2.ListAuditRequest(target=tenant.tenant_id)).entries
    assert [(entry.action, entry.actor) for entry in audit] == [
        ("adjustment", "alice"),
        ("promotion", "alice"),
        ("top_up", "test"),
    ]
    assert json.loads(audit[1].details)["transaction_id"] == gift.transaction_id
    assert books_agree(own)


@pytest.mark.parametrize("missing", ["actor", "reason", "idempotency_key"])
def test_money_does_not_move_without_a_name_a_reason_and_a_key(own: Deployment, missing: str) -> None:
    request = billing_pb2.TopUpRequest(
        tenant_id="demo", amount_nano=1, idempotency_key="x", reason="test", actor="test"
    )
    request.ClearField(missing)  # type: ignore[arg-type]
    with pytest.raises(grpc.RpcError, match=f"{missing} is needed"):
        own.billing.TopUp(request)


def test_a_price_file_is_applied_once_and_exported_as_it_is(own: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(
        "models: {applied-model: {input: 2, output: 8, request: 0.01}}\n"
        'multipliers: {brand: {cc: 0.5}}\ncosts: {"*": {claude-haiku-4-5: {input: 0.4, output: 2}}}\n'
    )
    assert "would change" in said(own, "price", "apply", "-f", str(file), "--dry-run")
    assert "3 rows changed" in said(own, "price", "apply", "-f", str(file))
    assert "nothing to change" in said(own, "price", "apply", "-f", str(file))
    exported = tmp_path / "exported.yaml"
    said(own, "price", "export", "-o", str(exported))
    assert "applied-model: {input: 2, output: 8" in exported.read_text()
    assert "nothing to change" in said(own, "price", "apply", "-f", str(exported))
    assert "applied-model" in said(own, "price", "list")
    file.write_text("models: {x: {input: nothing}}")
    refused = run(own, "price", "apply", "-f", str(file))
    assert refused.returncode == 1
    assert "models.x.input" in refused.stderr
    assert "models.x.output: is missing" in refused.stderr


def test_the_upstreams_cost_is_booked_beside_the_price(own: Deployment) -> None:
    tenant = own.tenant()
    book = billing_pb2.PriceBook()
    book.costs.add().rates.CopyFrom(
        billing_pb2.Price(model="claude-opus-4-6", input_pico=1_000_000, output_pico=2_000_000)
    )
    own.billing.ApplyPrices(billing_pb2.ApplyPricesRequest(book=book, actor="test"))

    def cost() -> int:
        own.messages(tenant.key, "tokens=10;input_tokens=10", model="claude-opus-4-6")
        request = usage_pb2.SummarizeUsageRequest(
            tenant_id=tenant.tenant_id, period=usage_pb2.USAGE_PERIOD_DAY, groups=[usage_pb2.USAGE_GROUP_MODEL]
        )
        return sum(total.upstream_cost_nano for total in own.usage.SummarizeUsage(request).buckets)

    eventually(lambda: cost() > 0, what="the cost book is heard of")
    assert books_agree(own)


def test_a_price_of_a_later_moment_is_charged_from_then_on(own: Deployment) -> None:
    tenant = own.tenant()
    at_ms = clock.now_ms() + 3000
    book = billing_pb2.PriceBook()
    book.prices.add(model="claude-haiku-4-5", input_pico=0, output_pico=7_000_000, effective_ms=at_ms)
    own.billing.ApplyPrices(billing_pb2.ApplyPricesRequest(book=book, actor="test"))
    for _ in range(3):
        assert own.messages(tenant.key, "tokens=10;input_tokens=10", model="claude-haiku-4-5").status == 200
    while clock.now_ms() < at_ms:
        time.sleep(0.02)
    for _ in range(3):
        assert own.messages(tenant.key, "tokens=10;input_tokens=10", model="claude-haiku-4-5").status == 200
    eventually(lambda: len(own.usages(tenant.tenant_id)) == 6)
    costs = {usage.created_ms >= at_ms: usage.cost_nano for usage in own.usages(tenant.tenant_id)}
    assert costs == {False: 10 * 800 + 10 * 4000, True: 10 * 7000}


def test_a_multiplier_for_all_changes_what_is_charged(tmp_path: Path) -> None:
    with deployed(tmp_path / "state") as tollhouse:
        tenant = tollhouse.tenant()
        book = billing_pb2.PriceBook()
        book.multipliers.add(scope="all", ppm=500_000)
        tollhouse.billing.ApplyPrices(billing_pb2.ApplyPricesRequest(book=book, actor="test"))
        full = 10 * SONNET_NANO["input"] + 3 * SONNET_NANO["output"]

        def cost() -> int:
            answer = tollhouse.messages(tenant.key, "tokens=3;input_tokens=10")
            return int(tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()["cost_nano"])

        eventually(lambda: cost() == full // 2, what="the multiplier is in force")
        assert tollhouse.balance_nano(tenant.tenant_id) >= 0
        assert books_agree(tollhouse)


def test_the_command_line_moves_money(own: Deployment) -> None:
    own.auth.CreateTenant(auth_pb2.CreateTenantRequest(tenant_id="by-hand"))
    assert "balance is $5.00" in said(own, "topup", "by-hand", "5", "--actor", "bob")
    assert "balance is $6.00" in said(own, "adjust", "by-hand", "promotion", "1", "--reason", "sorry")
    (code,) = said(own, "voucher", "create", "1", "2", "--batch", "by-hand").split()
    assert "credited $2.00; the balance is $8.00" in said(own, "voucher", "redeem", "by-hand", code)
    assert "redeemed before" in said(own, "voucher", "redeem", "by-hand", code.lower())
    assert "redeemed" in said(own, "voucher", "list", "by-hand")
    assert "0 vouchers" in said(own, "voucher", "void", "by-hand", "--reason", "test")
    assert run(own, "voucher", "create", "1", "2", "--batch", "by-hand").returncode == 1
    assert "promotion" in said(own, "transactions", "by-hand")
    assert "bob" in said(own, "audit", "list", "--target", "by-hand")
    assert "ok" in said(own, "ledger", "verify")
    assert said(own, "dead", "list").startswith("SEQUENCE")
    assert "0 replayed" in said(own, "dead", "replay")
