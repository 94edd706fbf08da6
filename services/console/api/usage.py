"""What a customer used and what moved their balance. Objects are the messages of proto/tollhouse/v1, without what is
ours: upstream accounts, what they cost us, and who of us moved a balance."""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import Message

from services.console.access_tokens import Scope
from services.console.api.admin import usage as everybodys
from services.console.api.admin.resources import BOOLEAN, PAGING, flag, size_of
from services.console.api.key_forms import of_data, success
from services.console.api.messages import Schema, to_json
from services.console.api.operation import Call, Operation
from services.console.problems import Problem
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import billing_pb2, usage_pb2

_WAIT_MS: Final = 2000
_OURS: Final = (
    *("upstream_account_id", "upstream_cost_nano", "margin_nano", "upstream_request_id", "upstream_model"),
    "actor",
)
_GROUPS: Final = frozenset({"key", "model"})


async def list_usage(call: Call) -> Any:
    """A page of the caller's requests, newest first."""
    found = await everybodys.listed_of(call, call.caller.tenant_id)
    return page(found.usages, found.next_page_token)


async def get_usage(call: Call) -> Any:
    """One of them with its attempts, and the price row that it was charged by."""
    asked = usage_pb2.GetUsageRequest(
        request_id=call.path("request_id"), tenant_id=call.caller.tenant_id, wait_ms=_WAIT_MS
    )
    try:
        usage = (await call.console.clients.usage.GetUsage(asked)).usage
    except Refusal as refusal:
        raise _unknown(refusal) from None
    price = None
    if usage.price_version:
        row = billing_pb2.GetPriceRequest(price_version=usage.price_version)
        price = (await call.console.clients.billing.GetPrice(row)).price
    return success({"usage": to_json(theirs(usage)), "price": to_json(price) if price else None})


async def get_receipt(call: Call) -> Any:
    """The signed receipt of one of them."""
    asked = usage_pb2.GetReceiptRequest(
        request_id=call.path("request_id"), tenant_id=call.caller.tenant_id, wait_ms=_WAIT_MS
    )
    try:
        return success({"receipt": (await call.console.clients.usage.GetReceipt(asked)).receipt})
    except Refusal as refusal:
        raise _unknown(refusal) from None


async def summarize(call: Call) -> Any:
    """Sums of hours or days."""
    asked = frozenset(filter(None, call.query.get("groups", "").split(",")))
    if not asked <= _GROUPS:
        raise Problem(400, "groups: key and model can be told apart.", param="groups")
    summed = await everybodys.summed_of(call, call.caller.tenant_id)
    return success([to_json(theirs(bucket)) for bucket in summed.buckets])


async def get_balance(call: Call) -> Any:
    """What the caller's tenant has."""
    asked = usage_pb2.GetBalanceRequest(tenant_id=call.caller.tenant_id)
    return success(to_json(await call.console.clients.usage.GetBalance(asked)))


async def list_transactions(call: Call) -> Any:
    """What moved the balance, newest first."""
    found = await call.console.clients.billing.ListTransactions(
        billing_pb2.ListTransactionsRequest(
            tenant_id=call.caller.tenant_id,
            page_size=size_of(call),
            page_token=call.query.get("cursor", ""),
            without_usage=flag(call, "without_usage"),
        )
    )
    return page(found.transactions, found.next_page_token)


def theirs(message: Message) -> Message:
    """A message without what is ours, in it and in all that it holds."""
    for field, value in message.ListFields():
        if field.name in _OURS:
            message.ClearField(field.name)
        elif field.message_type is not None and field.is_repeated:
            for item in value:
                theirs(item)
    return message


def page(messages: Iterable[Message], cursor: str) -> Any:
    """A page of a list, as customers' operations answer one."""
    return success({"items": [to_json(theirs(message)) for message in messages], "next_cursor": cursor or None})


def _unknown(refusal: Refusal) -> Exception:
    return Problem(404, "There is no such request.") if refusal.kind is Kind.USAGE_UNKNOWN else refusal


# ---- the operations ----


def of_page(name: str) -> dict[str, Schema]:
    """The schema of such a page."""
    items: Schema = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    cursor: Schema = {"type": ["string", "null"], "description": "For the next page; null at the end."}
    return of_data({"type": "object", "properties": {"items": items, "next_cursor": cursor}})


NAMED: Final = (
    usage_pb2.Usage,
    usage_pb2.UsageBucket,
    usage_pb2.GetBalanceResponse,
    billing_pb2.Price,
    billing_pb2.Transaction,
)
PATH: Final = "/api/user/usage"
_ONE: Final = PATH + "/{request_id}"
_PRICED: Final[Schema] = {
    "type": "object",
    "properties": {
        "usage": {"$ref": "#/components/schemas/Usage"},
        "price": {"anyOf": [{"$ref": "#/components/schemas/Price"}, {"type": "null"}]},
    },
}


def _reading(path: str, name: str, summary: str, handle: Any, answer: dict[str, Schema], **query: Schema) -> Operation:
    return Operation(
        method="GET",
        path=path,
        name=name,
        summary=summary,
        scope=Scope.ACCOUNT_READ,
        handle=handle,
        answer=answer,
        query=query,
    )


operations = (
    _reading(
        PATH,
        "listOwnUsage",
        "The caller's requests, newest first",
        list_usage,
        of_page("Usage"),
        **PAGING,
        **everybodys.LISTED,
    ),
    _reading(
        PATH + "/summary",
        "summarizeOwnUsage",
        "Sums of hours or days",
        summarize,
        of_data({"type": "array", "items": {"$ref": "#/components/schemas/UsageBucket"}}),
        **everybodys.SUMMED | {"groups": {"type": "string", "description": "key, model or both, between commas."}},
    ),
    _reading(_ONE, "getOwnUsage", "One request with its attempts and its price row", get_usage, of_data(_PRICED)),
    _reading(
        _ONE + "/receipt",
        "getOwnReceipt",
        "One request as a signed receipt",
        get_receipt,
        of_data({"type": "object", "properties": {"receipt": {"type": "string"}}}),
    ),
    _reading(
        "/api/user/balance",
        "getOwnBalance",
        "What the caller's tenant has, in nano-dollars",
        get_balance,
        of_data({"$ref": "#/components/schemas/GetBalanceResponse"}),
    ),
    _reading(
        "/api/user/transactions",
        "listOwnTransactions",
        "What moved the balance, newest first",
        list_transactions,
        of_page("Transaction"),
        **PAGING,
        without_usage=BOOLEAN,
    ),
)
