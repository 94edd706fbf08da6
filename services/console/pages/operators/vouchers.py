"""Vouchers: batches, made once, exported and voided."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import fields, lists
from services.console.rendering import iso, redirect
from services.shared import ids, money
from services.shared.errors import Refusal
from tollhouse.v1 import billing_pb2

_PATH = "/operator/vouchers"
_MOST = 10_000
FUNDINGS: Final = {
    "sold": "Sold: they paid for it",
    "gift": "Gift: our cost",
}
_FUNDING_NUMBERS: Final = {
    "sold": billing_pb2.VOUCHER_FUNDING_SOLD,
    "gift": billing_pb2.VOUCHER_FUNDING_GIFT,
}
STATES: Final = ("open", "redeemed", "void", "expired")


async def show(request: Request) -> Response:
    """A page of batches, newest first."""
    asked = lists.asked_of(request)
    listed = await console_of(request).clients.billing.ListVoucherBatches(
        billing_pb2.ListVoucherBatchesRequest(page_size=lists.SHOWN, page_token=asked.token)
    )
    return console_of(request).renderer.page(
        request,
        "operators/vouchers.html",
        asked=asked,
        batches=listed.batches,
        older=asked.onward(listed.next_page_token),
    )


async def new(request: Request) -> Response:
    """The form of a batch."""
    return _form_page(request, Form({"funding": "sold", "batch_id": f"batch-{ids.ulid()}"}))


async def create(request: Request) -> Response:
    """Makes a batch and shows its codes, or gives them as a file: they are nowhere afterwards."""
    form = await Form.read(request, "count", "amount", "funding", "expires", "batch_id", "reason", "as")
    asked = _batch_of(form)
    if form.errors:
        return _form_page(request, form, 422)
    asked.actor = deeds.actor_of(request)
    try:
        made = await console_of(request).clients.billing.CreateVouchers(asked)
    except Refusal as refusal:
        words = {"count": "count", "amount": "amount_nano", "batch_id": "batch_id", "reason": "reason"}
        return _form_page(request, deeds.beside(form, refusal, **words), 422)
    if made.repeated:
        return redirect(request, f"{_PATH}/{asked.batch_id}")
    if form["as"] == "csv":
        amount = money.dollars(asked.amount_nano)
        return _file(asked.batch_id, ("code", "amount"), ((code, amount) for code in made.codes))
    return console_of(request).renderer.page(
        request, "operators/voucher_codes.html", codes=made.codes, batch_id=asked.batch_id, amount=asked.amount_nano
    )


async def one(request: Request) -> Response:
    """A batch and a page of its vouchers."""
    asked, billing = lists.asked_of(request, "state"), console_of(request).clients.billing
    batch = await _batch(request)
    state = asked["state"] if asked["state"] in STATES else ""
    listed = await billing.ListVouchers(
        billing_pb2.ListVouchersRequest(batch_id=batch.batch_id, limit=lists.SHOWN, page_token=asked.token, state=state)
    )
    return console_of(request).renderer.page(
        request,
        "operators/voucher_batch.html",
        asked=asked,
        batch=batch,
        vouchers=listed.vouchers,
        states=STATES,
        older=asked.onward(listed.next_page_token),
    )


async def export(request: Request) -> Response:
    """The vouchers of a batch as a file, without their codes."""
    batch = await _batch(request)
    listed = await console_of(request).clients.billing.ListVouchers(
        billing_pb2.ListVouchersRequest(batch_id=batch.batch_id, limit=_MOST)
    )
    amount = money.dollars(batch.amount_nano)
    return _file(
        batch.batch_id,
        ("voucher", "amount", "state", "redeemed_by", "redeemed_at"),
        (
            (
                str(voucher.voucher_id),
                amount,
                voucher.state,
                voucher.redeemed_by,
                iso(voucher.redeemed_ms) if voucher.redeemed_ms else "",
            )
            for voucher in listed.vouchers
        ),
    )


async def void(request: Request) -> Response:
    """Voids what is open of a batch."""
    batch, form = await _batch(request), await Form.read(request, "reason")
    await console_of(request).clients.billing.VoidVouchers(
        billing_pb2.VoidVouchersRequest(
            batch_id=batch.batch_id,
            reason=deeds.printable(form["reason"]) or deeds.NO_REASON,
            actor=deeds.actor_of(request),
        )
    )
    return redirect(request, f"{_PATH}/{batch.batch_id}", "voided")


def _batch_of(form: Form) -> billing_pb2.CreateVouchersRequest:
    asked = billing_pb2.CreateVouchersRequest(
        batch_id=form["batch_id"].strip(),
        reason=deeds.printable(form["reason"]) or deeds.NO_REASON,
        funding=_FUNDING_NUMBERS.get(form["funding"], billing_pb2.VOUCHER_FUNDING_UNSPECIFIED),
    )
    if not asked.funding:
        form.wrong("funding", "Choose who bears them.")
    if not asked.batch_id or "/" in asked.batch_id:
        form.wrong("batch_id", "Give the batch a name, without a slash.")
    try:
        asked.count = fields.whole(form["count"], least=1, most=_MOST)
    except ValueError as error:
        form.wrong("count", str(error))
    try:
        asked.amount_nano = fields.nano(form["amount"])
    except ValueError as error:
        form.wrong("amount", str(error))
    try:
        asked.expires_ms = fields.moment_ms(form["expires"])
    except ValueError as error:
        form.wrong("expires", str(error))
    return asked


async def _batch(request: Request) -> billing_pb2.VoucherBatch:
    asked = billing_pb2.ListVoucherBatchesRequest(page_size=1, batch_id=request.path_params["batch_id"])
    listed = await console_of(request).clients.billing.ListVoucherBatches(asked)
    if not listed.batches:
        raise HTTPException(404)
    return listed.batches[0]


def _form_page(request: Request, form: Form, status: int = 200) -> Response:
    return console_of(request).renderer.page(
        request, "operators/voucher_form.html", status, form=form, fundings=FUNDINGS, most=_MOST
    )


def _file(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Response:
    """A CSV file (RFC 4180). Nothing in it can begin a formula: ids, codes, amounts and our own words only."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows(rows)
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "-._") else "_" for char in name)
    headers = {"content-disposition": f'attachment; filename="vouchers-{plain}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


_ONE = f"{_PATH}/{{batch_id}}"
routes = [
    operator(_PATH, show),
    operator(_PATH, create, ["POST"]),
    operator(f"{_PATH}/new", new),
    operator(_ONE, one),
    operator(f"{_ONE}/export", export),
    operator(f"{_ONE}/void", void, ["POST"]),
]
