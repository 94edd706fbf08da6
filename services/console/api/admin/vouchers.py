"""Vouchers."""

from typing import Any

from services.console.api.admin.resources import STRING, changing, listing, passed_on, size_of
from services.console.api.operation import Call
from tollhouse.v1 import billing_pb2


async def list_vouchers(call: Call) -> Any:
    """A page of vouchers without their codes, newest first."""
    found = await call.console.clients.billing.ListVouchers(
        billing_pb2.ListVouchersRequest(
            batch_id=call.query.get("batch_id", ""),
            limit=size_of(call),
            page_token=call.query.get("cursor", ""),
            state=call.query.get("state", ""),
        )
    )
    return passed_on(found.vouchers, found.next_page_token)


async def list_batches(call: Call) -> Any:
    """A page of batches with what became of their vouchers, newest first."""
    asked = billing_pb2.ListVoucherBatchesRequest(page_size=size_of(call), page_token=call.query.get("cursor", ""))
    found = await call.console.clients.billing.ListVoucherBatches(asked)
    return passed_on(found.batches, found.next_page_token)


async def create_vouchers(call: Call) -> billing_pb2.CreateVouchersResponse:
    """Makes vouchers; their codes are in the answer and nowhere else."""
    asked: billing_pb2.CreateVouchersRequest = call.body
    asked.actor = call.caller.actor
    return await call.console.clients.billing.CreateVouchers(asked)


async def void_vouchers(call: Call) -> billing_pb2.VoidVouchersResponse:
    """Voids those of a batch that were not redeemed."""
    asked: billing_pb2.VoidVouchersRequest = call.body
    asked.batch_id, asked.actor = call.path("batch_id"), call.caller.actor
    return await call.console.clients.billing.VoidVouchers(asked)


operations = (
    listing(
        "/vouchers",
        "listVouchers",
        "Vouchers without their codes, newest first",
        list_vouchers,
        billing_pb2.Voucher,
        {"batch_id": STRING, "state": {"type": "string", "enum": ["open", "redeemed", "void", "expired"]}},
    ),
    listing("/voucher-batches", "listVoucherBatches", "Batches, newest first", list_batches, billing_pb2.VoucherBatch),
    changing(
        "POST",
        "/vouchers",
        "createVouchers",
        "Makes vouchers; the answer is the only place with their codes",
        create_vouchers,
        billing_pb2.CreateVouchersResponse,
        body=billing_pb2.CreateVouchersRequest,
        hidden=("actor",),
        needed=("count", "amount_nano", "funding", "batch_id", "reason"),
        status=201,
        audited=False,
    ),
    changing(
        "POST",
        "/voucher-batches/{batch_id}/void",
        "voidVouchers",
        "Voids those of a batch that were not redeemed",
        void_vouchers,
        billing_pb2.VoidVouchersResponse,
        body=billing_pb2.VoidVouchersRequest,
        hidden=("batch_id", "actor"),
        needed=("reason",),
        audited=False,
    ),
)
