"""What was used, by whom, and what people did: usage and the audit log."""

from typing import Any, Final

from services.console.api.admin.resources import INTEGER, STRING, listing, passed_on, reading, size_of, whole
from services.console.api.messages import Schema, number_of, words_of
from services.console.api.operation import Call
from services.console.problems import Problem
from tollhouse.v1 import billing_pb2, events_pb2, usage_pb2

_STATUSES = events_pb2.DESCRIPTOR.enum_types_by_name["UsageStatus"]
_PERIODS = usage_pb2.DESCRIPTOR.enum_types_by_name["UsagePeriod"]
_GROUPS = usage_pb2.DESCRIPTOR.enum_types_by_name["UsageGroup"]


def _said(call: Call, name: str, enum: Any, otherwise: str) -> Any:
    try:
        return number_of(enum, call.query.get(name, otherwise), name)
    except ValueError as error:
        raise Problem(400, f"{error}.", param=name) from None


async def list_usage(call: Call) -> Any:
    """A page of a tenant's requests, newest first."""
    if not call.query.get("tenant_id"):
        raise Problem(400, "tenant_id is needed.", param="tenant_id")
    found = await listed_of(call, call.query["tenant_id"])
    return passed_on(found.usages, found.next_page_token)


async def listed_of(call: Call, tenant_id: str) -> usage_pb2.ListUsageResponse:
    """The page of a tenant's requests that a call asks for. Raises Problem, Refusal."""
    return await call.console.clients.usage.ListUsage(
        usage_pb2.ListUsageRequest(
            tenant_id=tenant_id,
            page_size=size_of(call),
            page_token=call.query.get("cursor", ""),
            key_id=call.query.get("key_id", ""),
            model=call.query.get("model", ""),
            status=_said(call, "status", _STATUSES, "unspecified"),
            from_ms=whole(call, "from_ms"),
            to_ms=whole(call, "to_ms"),
        )
    )


async def get_usage(call: Call) -> usage_pb2.Usage:
    """One request, with its attempts, upstream accounts and our costs."""
    asked = usage_pb2.GetUsageRequest(request_id=call.path("request_id"))
    return (await call.console.clients.usage.GetUsage(asked)).usage


async def summarize(call: Call) -> usage_pb2.SummarizeUsageResponse:
    """Sums of hours, days or a whole time, of one tenant or of all."""
    return await summed_of(call, call.query.get("tenant_id", ""))


async def summed_of(call: Call, tenant_id: str) -> usage_pb2.SummarizeUsageResponse:
    """The sums that a call asks for, of one tenant or of all. Raises Problem, Refusal."""
    groups: list[Any] = []
    for word in filter(None, call.query.get("groups", "").split(",")):
        try:
            groups.append(number_of(_GROUPS, word, "groups"))
        except ValueError as error:
            raise Problem(400, f"{error}.", param="groups") from None
    return await call.console.clients.usage.SummarizeUsage(
        usage_pb2.SummarizeUsageRequest(
            tenant_id=tenant_id,
            period=_said(call, "period", _PERIODS, "day"),
            groups=groups,
            from_ms=whole(call, "from_ms"),
            to_ms=whole(call, "to_ms"),
            key_id=call.query.get("key_id", ""),
            model=call.query.get("model", ""),
        )
    )


async def list_audit(call: Call) -> Any:
    """A page of the audit log, newest first."""
    found = await call.console.clients.billing.ListAudit(
        billing_pb2.ListAuditRequest(
            page_size=size_of(call),
            page_token=call.query.get("cursor", ""),
            target=call.query.get("target", ""),
            actor=call.query.get("actor", ""),
            action=call.query.get("action", ""),
        )
    )
    return passed_on(found.entries, found.next_page_token)


_SPAN: Final[dict[str, Schema]] = {"from_ms": INTEGER, "to_ms": INTEGER, "key_id": STRING, "model": STRING}
LISTED: Final[dict[str, Schema]] = {"status": {"type": "string", "enum": words_of(_STATUSES)}, **_SPAN}
"""What a list of requests may be narrowed to."""
SUMMED: Final[dict[str, Schema]] = {
    "period": {"type": "string", "enum": words_of(_PERIODS)[1:]},
    "groups": {"type": "string", "description": f"Out of {', '.join(words_of(_GROUPS)[1:])}, between commas."},
    **_SPAN,
}
"""What sums may be told apart by and narrowed to."""

operations = (
    listing(
        "/usage",
        "listUsage",
        "A tenant's requests, newest first",
        list_usage,
        usage_pb2.Usage,
        {"tenant_id": STRING, **LISTED},
    ),
    reading(
        "/usage/summary",
        "summarizeUsage",
        "Sums of hours, of days, or of a whole time",
        summarize,
        usage_pb2.SummarizeUsageResponse,
        current=None,
        query={"tenant_id": STRING, **SUMMED},
    ),
    reading("/usage/{request_id}", "getUsage", "One request with its attempts", get_usage, usage_pb2.Usage),
    listing(
        "/audit",
        "listAudit",
        "What people did, newest first",
        list_audit,
        billing_pb2.AuditEntry,
        {"target": STRING, "actor": STRING, "action": STRING},
    ),
)
