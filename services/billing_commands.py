"""Operator commands that move money: `tollhouse topup|adjust|transactions|price|voucher|audit`."""

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from services import price_file
from services.commands import TIMEOUT_S, CommandFailed, Services, add_action, table, when
from services.shared import clock, ids
from services.shared.money import (
    PICO_A_TOKEN_PER_DOLLAR_A_MILLION,
    dollars,
    nano_from_dollars,
    pico_from_dollars_a_million,
)
from tollhouse.v1 import billing_pb2, router_pb2

_ADJUSTMENTS: Final = {
    "promotion": billing_pb2.ADJUSTMENT_KIND_PROMOTION,
    "refund": billing_pb2.ADJUSTMENT_KIND_REFUND,
    "credit": billing_pb2.ADJUSTMENT_KIND_CREDIT,
    "debit": billing_pb2.ADJUSTMENT_KIND_DEBIT,
}
_FUNDINGS: Final = {"sold": billing_pb2.VOUCHER_FUNDING_SOLD, "gift": billing_pb2.VOUCHER_FUNDING_GIFT}


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the commands to the command line."""

    def group(name: str, text: str) -> Any:
        return sub.add_parser(name, help=text).add_subparsers(required=True, metavar="ACTION")

    def action(
        parent: Any, name: str, text: str, run: Callable[[Services, argparse.Namespace], None], *, writes: bool = False
    ) -> argparse.ArgumentParser:
        command = add_action(parent, name, text, run, state_dir)
        if writes:
            command.add_argument("--actor", default=_user(), help="who does it, for the audit log (default: you)")
        return command

    command = action(sub, "topup", "credit a tenant's balance with what it paid", _topup, writes=True)
    command.add_argument("tenant")
    command.add_argument("amount", help="in dollars, such as 25 or 0.50")
    command.add_argument("--reason", default="top-up by an operator")
    command.add_argument("--idempotency-key", help="the same key credits once (default: a new one)")

    command = action(sub, "adjust", "change a tenant's balance for another reason", _adjust, writes=True)
    command.add_argument("tenant")
    command.add_argument("kind", choices=list(_ADJUSTMENTS))
    command.add_argument("amount", help="in dollars, above 0 whichever way it goes")
    command.add_argument("--reason", required=True)
    command.add_argument("--corrects", type=int, default=0, metavar="TRANSACTION", help="the transaction it corrects")
    command.add_argument("--idempotency-key", help="the same key adjusts once (default: a new one)")

    command = action(sub, "transactions", "what moved a tenant's balance", _transactions)
    command.add_argument("tenant")
    command.add_argument("--limit", type=int, default=20)

    _add_prices(group("price", "set, list, apply and export prices"), action)

    voucher = group("voucher", "make, list, void and redeem vouchers")
    command = action(voucher, "create", "make vouchers and print their codes, this once", _voucher_create, writes=True)
    command.add_argument("count", type=int)
    command.add_argument("amount", help="what each is worth, in dollars")
    command.add_argument("--funding", choices=list(_FUNDINGS), default="sold", help="who bears it (default: sold)")
    command.add_argument("--days", type=int, default=0, help="how long they live (default: for ever)")
    command.add_argument("--batch", help="names the batch; the same name makes one batch (default: a new one)")
    command.add_argument("--reason", default="made by an operator")
    action(voucher, "list", "list vouchers without their codes", _voucher_list).add_argument(
        "batch", nargs="?", default=""
    )
    command = action(voucher, "void", "void what is open of a batch", _voucher_void, writes=True)
    command.add_argument("batch")
    command.add_argument("--reason", required=True)
    command = action(voucher, "redeem", "credit a voucher to a tenant", _voucher_redeem, writes=True)
    command.add_argument("tenant")
    command.add_argument("code")

    audit = group("audit", "look at what people did")
    command = action(audit, "list", "the latest first", _audit_list)
    command.add_argument("--target", default="", help="only what was done to this, such as a tenant")
    command.add_argument("--limit", type=int, default=50)


def _add_prices(price: Any, action: Callable[..., argparse.ArgumentParser]) -> None:
    command = action(
        price, "set", "set a model's price from now on, in dollars per million tokens", _price_set, writes=True
    )
    command.add_argument("model")
    command.add_argument("--input", required=True)
    command.add_argument("--output", required=True)
    command.add_argument("--cache-read", help="default: a tenth of input")
    command.add_argument("--cache-write-5m", help="default: 1.25 times input")
    command.add_argument("--cache-write-1h", help="default: twice input")
    command.add_argument("--request", default="0", help="dollars for each answered request (default: 0)")
    action(price, "list", "list the prices in force and to come", _price_list)
    command = action(price, "apply", "bring the price book to what a file says", _price_apply, writes=True)
    command.add_argument("-f", "--file", type=Path, required=True)
    command.add_argument("--dry-run", action="store_true", help="only say what would change")
    command = action(price, "export", "write the price book as a file", _price_export)
    command.add_argument("-o", "--output", type=Path, help="default: standard output")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


def _topup(services: Services, arguments: argparse.Namespace) -> None:
    request = billing_pb2.TopUpRequest(
        tenant_id=arguments.tenant,
        amount_nano=nano_from_dollars(arguments.amount),
        idempotency_key=arguments.idempotency_key or ids.ulid(),
        reason=arguments.reason,
        actor=arguments.actor,
    )
    response = services.billing.TopUp(request, timeout=TIMEOUT_S)
    print(f"{'credited before' if response.repeated else 'credited'}; the balance is {dollars(response.balance_nano)}")


def _adjust(services: Services, arguments: argparse.Namespace) -> None:
    request = billing_pb2.AdjustRequest(
        tenant_id=arguments.tenant,
        kind=_ADJUSTMENTS[arguments.kind],
        amount_nano=nano_from_dollars(arguments.amount),
        idempotency_key=arguments.idempotency_key or ids.ulid(),
        reason=arguments.reason,
        actor=arguments.actor,
        corrects_transaction_id=arguments.corrects,
    )
    response = services.billing.Adjust(request, timeout=TIMEOUT_S)
    done = "done before" if response.repeated else f"transaction {response.transaction_id}"
    print(f"{done}; the balance is {dollars(response.balance_nano)}")


def _transactions(services: Services, arguments: argparse.Namespace) -> None:
    request = billing_pb2.ListTransactionsRequest(tenant_id=arguments.tenant, page_size=arguments.limit)
    table(
        ("TRANSACTION", "WHEN", "KIND", "AMOUNT", "ACTOR", "REASON"),
        [
            (t.transaction_id, when(t.created_ms), t.kind, dollars(t.amount_nano), t.actor or "-", t.reason or "-")
            for t in services.billing.ListTransactions(request, timeout=TIMEOUT_S).transactions
        ],
    )


def _price_set(services: Services, arguments: argparse.Namespace) -> None:
    input_pico = pico_from_dollars_a_million(arguments.input)

    def rate(text: str | None, default_pico: int) -> int:
        return default_pico if text is None else pico_from_dollars_a_million(text)

    price = billing_pb2.Price(
        model=arguments.model,
        input_pico=input_pico,
        output_pico=pico_from_dollars_a_million(arguments.output),
        cache_read_pico=rate(arguments.cache_read, input_pico // 10),
        cache_write_5m_pico=rate(arguments.cache_write_5m, input_pico * 5 // 4),
        cache_write_1h_pico=rate(arguments.cache_write_1h, input_pico * 2),
        request_pico=nano_from_dollars(arguments.request) * 1000,
    )
    request = billing_pb2.SetPriceRequest(price=price, actor=arguments.actor)
    stored = services.billing.SetPrice(request, timeout=TIMEOUT_S).price
    print(f"{stored.model}: price version {stored.price_version}")


def _price_list(services: Services, arguments: argparse.Namespace) -> None:
    listed = services.billing.ListPrices(billing_pb2.ListPricesRequest(), timeout=TIMEOUT_S)
    print("Dollars per million tokens")
    table(
        ("MODEL", "VERSION", "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE 5M", "CACHE WRITE 1H", "A REQUEST", "SINCE"),
        [
            (
                p.model,
                p.price_version,
                *map(
                    _per_million,
                    (p.input_pico, p.output_pico, p.cache_read_pico, p.cache_write_5m_pico, p.cache_write_1h_pico),
                ),
                dollars(p.request_pico // 1000),
                when(p.effective_ms),
            )
            for p in listed.prices
        ],
    )
    if listed.multipliers:
        print()
        table(
            ("MULTIPLIER", "NAME", "OF THE LIST PRICE", "SINCE"),
            [(m.scope, m.name or "-", m.ppm / 1_000_000, when(m.effective_ms)) for m in listed.multipliers],
        )


def _per_million(pico: int) -> str:
    return dollars(pico * 1_000_000_000 // PICO_A_TOKEN_PER_DOLLAR_A_MILLION)


def _accounts(services: Services) -> dict[str, str]:
    listed = services.router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest(), timeout=TIMEOUT_S)
    return {account.name: account.upstream_account_id for account in listed.accounts}


def _price_apply(services: Services, arguments: argparse.Namespace) -> None:
    try:
        book = price_file.parse(arguments.file.read_text(encoding="utf-8"), _accounts(services))
    except price_file.Faults as faults:
        raise CommandFailed(f"{arguments.file}:\n{faults}") from None
    request = billing_pb2.ApplyPricesRequest(book=book, dry_run=arguments.dry_run, actor=arguments.actor)
    changes = services.billing.ApplyPrices(request, timeout=TIMEOUT_S).changes
    for change in changes:
        print(change)
    done = "would change" if arguments.dry_run else "changed"
    print(f"{len(changes)} rows {done}" if changes else "nothing to change")


def _price_export(services: Services, arguments: argparse.Namespace) -> None:
    book = services.billing.ExportPrices(billing_pb2.ExportPricesRequest(), timeout=TIMEOUT_S).book
    names = {account_id: name for name, account_id in _accounts(services).items()}
    text = price_file.render(book, names, clock.now_ms())
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def _voucher_create(services: Services, arguments: argparse.Namespace) -> None:
    request = billing_pb2.CreateVouchersRequest(
        count=arguments.count,
        amount_nano=nano_from_dollars(arguments.amount),
        funding=_FUNDINGS[arguments.funding],
        expires_ms=clock.now_ms() + arguments.days * 86_400 * clock.MS_PER_S if arguments.days else 0,
        batch_id=arguments.batch or f"batch-{ids.ulid()}",
        reason=arguments.reason,
        actor=arguments.actor,
    )
    response = services.billing.CreateVouchers(request, timeout=TIMEOUT_S)
    if response.repeated:
        raise CommandFailed(f"the batch {request.batch_id} exists; its codes were printed when it was made")
    for code in response.codes:
        print(code)


def _voucher_list(services: Services, arguments: argparse.Namespace) -> None:
    request = billing_pb2.ListVouchersRequest(batch_id=arguments.batch)
    table(
        ("VOUCHER", "BATCH", "WORTH", "STATE", "BY", "WHEN", "UNTIL"),
        [
            (
                v.voucher_id,
                v.batch_id,
                dollars(v.amount_nano),
                v.state,
                v.redeemed_by or "-",
                when(v.redeemed_ms),
                when(v.expires_ms),
            )
            for v in services.billing.ListVouchers(request, timeout=TIMEOUT_S).vouchers
        ],
    )


def _voucher_void(services: Services, arguments: argparse.Namespace) -> None:
    request = billing_pb2.VoidVouchersRequest(batch_id=arguments.batch, reason=arguments.reason, actor=arguments.actor)
    print(f"{services.billing.VoidVouchers(request, timeout=TIMEOUT_S).voided} vouchers are void")


def _voucher_redeem(services: Services, arguments: argparse.Namespace) -> None:
    request = billing_pb2.RedeemVoucherRequest(tenant_id=arguments.tenant, code=arguments.code, actor=arguments.actor)
    response = services.billing.RedeemVoucher(request, timeout=TIMEOUT_S)
    done = "redeemed before" if response.repeated else f"credited {dollars(response.amount_nano)}"
    print(f"{done}; the balance is {dollars(response.balance_nano)}")


def _audit_list(services: Services, arguments: argparse.Namespace) -> None:
    request = billing_pb2.ListAuditRequest(page_size=arguments.limit, target=arguments.target)
    table(
        ("AUDIT", "WHEN", "ACTOR", "ACTION", "TARGET", "REASON", "DETAILS"),
        [
            (e.audit_id, when(e.at_ms), e.actor, e.action, e.target, e.reason, e.details)
            for e in services.billing.ListAudit(request, timeout=TIMEOUT_S).entries
        ],
    )
