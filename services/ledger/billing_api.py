"""The ledger's gRPC service for prices, and for money that moves by hand."""

import re
from datetime import datetime
from typing import Any, Final

from nats.aio.client import Client

from services.ledger import vouchers
from services.ledger.entries import REVENUE, Account
from services.ledger.movements import Movements
from services.ledger.settlement import instant, unix_ms
from services.ledger.store.audit import AuditRow, AuditStore, Deed
from services.ledger.store.balances import (
    BalanceStore,
    KeyReused,
    Moved,
    Movement,
    NoSuchTransaction,
    NotFree,
    TransactionRow,
)
from services.ledger.store.prices import Book, MultiplierRow, PriceRow, PriceStore, to_apply
from services.ledger.store.vouchers import Batch, BatchRow, VoucherRow, VoucherStore
from services.shared import bus, clock
from services.shared.errors import Kind, Refusal
from services.shared.money import NANO_PER_DOLLAR, dollars
from services.shared.pricing import Rates
from tollhouse.v1 import billing_pb2, billing_pb2_grpc

_MOST_NANO: Final = 10_000_000 * NANO_PER_DOLLAR
_MAX_PICO: Final = 10**12  # $1 a token
_MAX_REQUEST_PICO: Final = 10**15  # $1,000 a request
_MAX_PPM: Final = 100 * 1_000_000
_LAST_VERSION: Final = 2**63 - 1  # of a bigint
_LATEST_MS: Final = 253_402_300_799_999  # the year 9999
_TENANT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_TEXT_LENGTH: Final = 200
_PAGE: Final = 100
_PAGE_MOST: Final = 1000
_VOUCHERS_MOST: Final = 10_000
_VOUCHERS_LISTED: Final = 1000
_VOUCHER_STATES: Final = ("open", "redeemed", "void", "expired")
_DETAILS: Final = 50
_DETAIL_LENGTH: Final = 2000
_SCOPES: Final = ("all", "brand", "plan", "group")
_FUNDINGS: Final = {billing_pb2.VOUCHER_FUNDING_SOLD: "sold", billing_pb2.VOUCHER_FUNDING_GIFT: "gift"}
_CLEARING: Final = Account("top_up_clearing")
# The transaction's kind, the other account, and whether the balance gains or loses.
_ADJUSTMENTS: Final = {
    billing_pb2.ADJUSTMENT_KIND_PROMOTION: ("promotion", Account("promotional"), 1),
    billing_pb2.ADJUSTMENT_KIND_REFUND: ("refund", _CLEARING, -1),
    billing_pb2.ADJUSTMENT_KIND_CREDIT: ("adjustment", REVENUE, 1),
    billing_pb2.ADJUSTMENT_KIND_DEBIT: ("adjustment", REVENUE, -1),
}

Context = Any


class BillingApi(billing_pb2_grpc.BillingServiceServicer):
    """Prices, balances, vouchers, the audit log."""

    def __init__(
        self, balances: BalanceStore, prices: PriceStore, voucher_store: VoucherStore, audit: AuditStore, nc: Client
    ) -> None:
        self._balances = balances
        self._movements = Movements(balances, nc)
        self._prices = prices
        self._vouchers = voucher_store
        self._audit = audit
        self._nc = nc

    # ---- balances ----

    async def TopUp(self, request: billing_pb2.TopUpRequest, context: Context) -> billing_pb2.TopUpResponse:
        movement = Movement("top_up", _CLEARING, _amount(request.amount_nano), _key(request.idempotency_key))
        deed = _deed(request.actor, "top_up", _tenant(request.tenant_id), request.reason)
        moved = await self._move(request.tenant_id, movement, deed)
        return billing_pb2.TopUpResponse(balance_nano=moved.balance_nano, repeated=moved.repeated)

    async def Adjust(self, request: billing_pb2.AdjustRequest, context: Context) -> billing_pb2.AdjustResponse:
        if request.kind not in _ADJUSTMENTS:
            raise Refusal(Kind.INVALID_REQUEST, "kind is not said")
        kind, other, sign = _ADJUSTMENTS[request.kind]
        movement = Movement(
            kind,
            other,
            sign * _amount(request.amount_nano),
            _key(request.idempotency_key),
            request.corrects_transaction_id or None,
        )
        moved = await self._move(
            request.tenant_id, movement, _deed(request.actor, kind, _tenant(request.tenant_id), request.reason)
        )
        return billing_pb2.AdjustResponse(
            balance_nano=moved.balance_nano, transaction_id=moved.transaction_id, repeated=moved.repeated
        )

    async def _move(self, tenant_id: str, movement: Movement, deed: Deed) -> Moved:
        try:
            return await self._movements.make(tenant_id, movement, deed)
        except NotFree as short:
            said = f"only {dollars(short.free_nano)} of the balance is not set aside for requests"
            raise Refusal(Kind.BALANCE_EXHAUSTED, said, available_nano=str(short.free_nano)) from None
        except NoSuchTransaction:
            raise Refusal(Kind.NOT_FOUND, "what it corrects is no transaction of this tenant") from None
        except KeyReused:
            raise Refusal(Kind.INVALID_REQUEST, "idempotency_key was used for something else before") from None

    async def ListBalances(
        self, request: billing_pb2.ListBalancesRequest, context: Context
    ) -> billing_pb2.ListBalancesResponse:
        if len(request.tenant_ids) > _PAGE_MOST:
            raise Refusal(Kind.INVALID_REQUEST, f"tenant_ids: at most {_PAGE_MOST}")
        found = await self._balances.balances(list(request.tenant_ids))
        return billing_pb2.ListBalancesResponse(
            balances=[billing_pb2.Balance(tenant_id=tenant, balance_nano=nano) for tenant, nano in found.items()]
        )

    async def ListTransactions(
        self, request: billing_pb2.ListTransactionsRequest, context: Context
    ) -> billing_pb2.ListTransactionsResponse:
        size = _page_size(request.page_size)
        rows = await self._balances.transactions(
            _tenant(request.tenant_id), size + 1, _before(request.page_token), without_usage=request.without_usage
        )
        return billing_pb2.ListTransactionsResponse(
            transactions=[_transaction(row) for row in rows[:size]],
            next_page_token=str(rows[size - 1].transaction_id) if len(rows) > size else "",
        )

    # ---- prices ----

    async def SetPrice(self, request: billing_pb2.SetPriceRequest, context: Context) -> billing_pb2.SetPriceResponse:
        row = _price_row(request.price)
        if row.effective_ms and row.effective_ms <= clock.now_ms():
            raise Refusal(Kind.INVALID_REQUEST, "effective_ms is in the past")
        added = await self._prices.set_price(row, _deed(request.actor, "set_price", row.model, "-"))
        await bus.announce(self._nc, bus.PRICES_CHANGED, row.model.encode())
        return billing_pb2.SetPriceResponse(price=_price(added))

    async def ListPrices(
        self, request: billing_pb2.ListPricesRequest, context: Context
    ) -> billing_pb2.ListPricesResponse:
        book = await self._prices.book()
        return billing_pb2.ListPricesResponse(
            prices=[_price(row) for row in book.prices], multipliers=[_multiplier(row) for row in book.multipliers]
        )

    async def GetPrice(self, request: billing_pb2.GetPriceRequest, context: Context) -> billing_pb2.GetPriceResponse:
        rows = await self._prices.prices([request.price_version]) if request.price_version <= _LAST_VERSION else []
        if not rows:
            raise Refusal(Kind.NOT_FOUND, f"there is no price row {request.price_version}")
        return billing_pb2.GetPriceResponse(price=_price(rows[0]))

    async def ApplyPrices(
        self, request: billing_pb2.ApplyPricesRequest, context: Context
    ) -> billing_pb2.ApplyPricesResponse:
        now_ms = clock.now_ms()
        book = Book(
            to_apply([_price_row(price) for price in request.book.prices], now_ms),
            to_apply([_multiplier_row(multiplier) for multiplier in request.book.multipliers], now_ms),
            to_apply([_price_row(cost.rates, cost.upstream_account_id) for cost in request.book.costs], now_ms),
        )
        deed = _deed(request.actor, "apply_prices", "price book", "-")
        changes = await self._prices.apply(book, deed, request.dry_run)
        if changes and not request.dry_run:
            await bus.announce(self._nc, bus.PRICES_CHANGED, b"")
        return billing_pb2.ApplyPricesResponse(changes=changes)

    async def ExportPrices(
        self, request: billing_pb2.ExportPricesRequest, context: Context
    ) -> billing_pb2.ExportPricesResponse:
        book = await self._prices.book()
        return billing_pb2.ExportPricesResponse(
            book=billing_pb2.PriceBook(
                prices=[_price(row) for row in book.prices],
                multipliers=[_multiplier(row) for row in book.multipliers],
                costs=[
                    billing_pb2.Cost(upstream_account_id=row.upstream_account_id, rates=_price(row))
                    for row in book.costs
                ],
            )
        )

    # ---- vouchers ----

    async def CreateVouchers(
        self, request: billing_pb2.CreateVouchersRequest, context: Context
    ) -> billing_pb2.CreateVouchersResponse:
        if not 1 <= request.count <= _VOUCHERS_MOST:
            raise Refusal(Kind.INVALID_REQUEST, f"count must be 1 to {_VOUCHERS_MOST}")
        if request.funding not in _FUNDINGS:
            raise Refusal(Kind.INVALID_REQUEST, "funding is not said")
        if request.expires_ms and request.expires_ms <= clock.now_ms():
            raise Refusal(Kind.INVALID_REQUEST, "expires_ms is in the past")
        expires_at = instant(request.expires_ms) if request.expires_ms else None
        batch = Batch(
            _text(request.batch_id, "batch_id"), _FUNDINGS[request.funding], _amount(request.amount_nano), expires_at
        )
        codes = [vouchers.new_code() for _ in range(request.count)]
        hashes = [hashed for code in codes if (hashed := vouchers.code_hash(code))]
        deed = _deed(request.actor, "create_vouchers", batch.batch_id, request.reason)
        try:
            made = await self._vouchers.create(batch, hashes, deed)
        except KeyReused:
            raise Refusal(Kind.INVALID_REQUEST, "batch_id was used for other vouchers before") from None
        if not made:
            return billing_pb2.CreateVouchersResponse(repeated=True)
        return billing_pb2.CreateVouchersResponse(codes=codes)

    async def ListVouchers(
        self, request: billing_pb2.ListVouchersRequest, context: Context
    ) -> billing_pb2.ListVouchersResponse:
        limit = min(request.limit or _VOUCHERS_LISTED, _VOUCHERS_MOST)
        if request.state not in ("", *_VOUCHER_STATES):
            raise Refusal(Kind.INVALID_REQUEST, f"state is one of {', '.join(_VOUCHER_STATES)}")
        rows = await self._vouchers.of_batch(request.batch_id, limit + 1, _before(request.page_token), request.state)
        return billing_pb2.ListVouchersResponse(
            vouchers=[_voucher(row) for row in rows[:limit]],
            next_page_token=str(rows[limit - 1].voucher_id) if len(rows) > limit else "",
        )

    async def ListVoucherBatches(
        self, request: billing_pb2.ListVoucherBatchesRequest, context: Context
    ) -> billing_pb2.ListVoucherBatchesResponse:
        size = _page_size(request.page_size)
        rows = await self._vouchers.batches(size + 1, request.page_token, request.batch_id)
        return billing_pb2.ListVoucherBatchesResponse(
            batches=[_batch(row) for row in rows[:size]],
            next_page_token=rows[size - 1].batch_id if len(rows) > size else "",
        )

    async def VoidVouchers(
        self, request: billing_pb2.VoidVouchersRequest, context: Context
    ) -> billing_pb2.VoidVouchersResponse:
        deed = _deed(request.actor, "void_vouchers", _text(request.batch_id, "batch_id"), request.reason)
        return billing_pb2.VoidVouchersResponse(voided=await self._vouchers.void(request.batch_id, deed))

    async def RedeemVoucher(
        self, request: billing_pb2.RedeemVoucherRequest, context: Context
    ) -> billing_pb2.RedeemVoucherResponse:
        tenant_id, code_hash = _tenant(request.tenant_id), vouchers.code_hash(request.code)
        if code_hash is None:
            raise Refusal(Kind.VOUCHER_UNKNOWN, Kind.VOUCHER_UNKNOWN.meaning)
        deed = _deed(request.actor, "redeem_voucher", tenant_id, "voucher")
        redeemed = await self._vouchers.redeem(tenant_id, code_hash, deed)
        if redeemed is not None:
            amount_nano, moved = redeemed
            return billing_pb2.RedeemVoucherResponse(amount_nano=amount_nano, balance_nano=moved.balance_nano)
        voucher = await self._vouchers.find(code_hash)
        if voucher is None:
            raise Refusal(Kind.VOUCHER_UNKNOWN, Kind.VOUCHER_UNKNOWN.meaning)
        if voucher.redeemed_by != tenant_id:
            raise Refusal(Kind.VOUCHER_SPENT, f"the voucher is {voucher.state}")
        balance_nano, _ = await self._balances.balance(tenant_id)
        return billing_pb2.RedeemVoucherResponse(
            amount_nano=voucher.amount_nano, balance_nano=balance_nano, repeated=True
        )

    # ---- the audit log ----

    async def RecordDeed(
        self, request: billing_pb2.RecordDeedRequest, context: Context
    ) -> billing_pb2.RecordDeedResponse:
        action, target = _text(request.action, "action"), _text(request.target, "target")
        deed = _deed(request.actor, action, target, request.reason)
        if len(request.details) > _DETAILS or any(len(value) > _DETAIL_LENGTH for value in request.details.values()):
            raise Refusal(
                Kind.INVALID_REQUEST, f"details: at most {_DETAILS}, of at most {_DETAIL_LENGTH} characters each"
            )
        await self._audit.record(_key(request.idempotency_key), deed, request.details)
        return billing_pb2.RecordDeedResponse()

    async def ListAudit(self, request: billing_pb2.ListAuditRequest, context: Context) -> billing_pb2.ListAuditResponse:
        size = _page_size(request.page_size)
        rows = await self._audit.page(
            size + 1, _before(request.page_token), request.target, request.actor, request.action
        )
        return billing_pb2.ListAuditResponse(
            entries=[_audit(row) for row in rows[:size]],
            next_page_token=str(rows[size - 1].audit_id) if len(rows) > size else "",
        )


def _tenant(tenant_id: str) -> str:
    if not _TENANT.fullmatch(tenant_id):
        raise Refusal(Kind.INVALID_REQUEST, f"{tenant_id!r} is not a tenant id")
    return tenant_id


def _amount(amount_nano: int) -> int:
    if not 0 < amount_nano <= _MOST_NANO:
        raise Refusal(Kind.INVALID_REQUEST, "amount_nano must be above 0 and at most ten million dollars")
    return amount_nano


def _key(idempotency_key: str) -> str:
    return _text(idempotency_key, "idempotency_key")


def _text(text: str, name: str) -> str:
    if not text or len(text) > _TEXT_LENGTH or not text.isprintable():
        raise Refusal(Kind.INVALID_REQUEST, f"{name} is needed, of at most {_TEXT_LENGTH} printable characters")
    return text


def _deed(actor: str, action: str, target: str, reason: str) -> Deed:
    return Deed(_text(actor, "actor"), action, target, _text(reason, "reason"))


def _page_size(asked: int) -> int:
    if asked > _PAGE_MOST:
        raise Refusal(Kind.INVALID_REQUEST, f"page_size may be at most {_PAGE_MOST}")
    return asked or _PAGE


def _before(page_token: str) -> int | None:
    if not page_token:
        return None
    if not page_token.isdecimal() or len(page_token) > 18:
        raise Refusal(Kind.INVALID_REQUEST, "page_token is not one of ours")
    return int(page_token)


def _effective(effective_ms: int) -> int:
    if not 0 <= effective_ms < _LATEST_MS:
        raise Refusal(Kind.INVALID_REQUEST, "a row's moment is out of range")
    return effective_ms


def _price_row(price: billing_pb2.Price, upstream_account_id: str = "") -> PriceRow:
    rates = Rates(
        price.price_version,
        price.input_pico,
        price.output_pico,
        price.cache_read_pico,
        price.cache_write_5m_pico,
        price.cache_write_1h_pico,
        price.request_pico,
    )
    classes = (rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h)
    if min(*classes, rates.request) < 0:
        raise Refusal(Kind.INVALID_REQUEST, f"{price.model}: a rate is below 0")
    if max(classes) > _MAX_PICO or rates.request > _MAX_REQUEST_PICO:
        raise Refusal(Kind.INVALID_REQUEST, f"{price.model}: a rate is above a dollar a token, or $1,000 a request")
    return PriceRow(_text(price.model, "model"), rates, _effective(price.effective_ms), upstream_account_id)


def _multiplier_row(multiplier: billing_pb2.Multiplier) -> MultiplierRow:
    if multiplier.scope not in _SCOPES or bool(multiplier.name) == (multiplier.scope == "all"):
        raise Refusal(Kind.INVALID_REQUEST, "a multiplier is for all, or for a brand, plan or group that it names")
    if not 0 < multiplier.ppm <= _MAX_PPM:
        raise Refusal(Kind.INVALID_REQUEST, "a multiplier is above 0 and at most 100")
    return MultiplierRow(
        multiplier.scope, multiplier.name[:_TEXT_LENGTH], multiplier.ppm, _effective(multiplier.effective_ms)
    )


def _price(row: PriceRow) -> billing_pb2.Price:
    rates = row.rates
    return billing_pb2.Price(
        price_version=rates.price_version,
        model=row.model,
        input_pico=rates.input,
        output_pico=rates.output,
        cache_read_pico=rates.cache_read,
        cache_write_5m_pico=rates.cache_write_5m,
        cache_write_1h_pico=rates.cache_write_1h,
        request_pico=rates.request,
        effective_ms=row.effective_ms,
    )


def _multiplier(row: MultiplierRow) -> billing_pb2.Multiplier:
    return billing_pb2.Multiplier(scope=row.scope, name=row.name, ppm=row.ppm, effective_ms=row.effective_ms)


def _transaction(row: TransactionRow) -> billing_pb2.Transaction:
    return billing_pb2.Transaction(
        transaction_id=row.transaction_id,
        kind=row.kind,
        amount_nano=row.amount_nano,
        reason=row.reason,
        actor=row.actor,
        created_ms=unix_ms(row.created_at),
        corrects_transaction_id=row.corrects_transaction_id,
    )


def _batch(row: BatchRow) -> billing_pb2.VoucherBatch:
    return billing_pb2.VoucherBatch(
        batch_id=row.batch_id,
        amount_nano=row.amount_nano,
        funding=next(number for number, name in _FUNDINGS.items() if name == row.funding),
        vouchers=row.vouchers,
        redeemed=row.redeemed,
        voided=row.voided,
        expires_ms=_ms(row.expires_at),
        created_ms=_ms(row.created_at),
    )


def _voucher(row: VoucherRow) -> billing_pb2.Voucher:
    return billing_pb2.Voucher(
        voucher_id=row.voucher_id,
        batch_id=row.batch_id,
        amount_nano=row.amount_nano,
        state=row.state,
        redeemed_by=row.redeemed_by,
        redeemed_ms=_ms(row.redeemed_at),
        expires_ms=_ms(row.expires_at),
        created_ms=_ms(row.created_at),
    )


def _audit(row: AuditRow) -> billing_pb2.AuditEntry:
    return billing_pb2.AuditEntry(
        audit_id=row.audit_id,
        at_ms=_ms(row.at),
        actor=row.actor,
        action=row.action,
        target=row.target,
        reason=row.reason,
        details=row.details,
    )


def _ms(at: datetime | None) -> int:
    return unix_ms(at) if at else 0
