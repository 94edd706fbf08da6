"""The audit log: who did what, to whom, and why."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.console.console import console_of
from services.console.guards import operator
from services.console.pages.operators import lists
from tollhouse.v1 import billing_pb2


async def show(request: Request) -> Response:
    """A page of it, newest first."""
    asked = lists.asked_of(request, "actor", "action", "target")
    listed = await console_of(request).clients.billing.ListAudit(
        billing_pb2.ListAuditRequest(
            page_size=lists.SHOWN,
            page_token=asked.token,
            actor=asked["actor"],
            action=asked["action"],
            target=asked["target"],
        )
    )
    return console_of(request).renderer.page(
        request,
        "operators/audit.html",
        asked=asked,
        deeds=[(entry, details_of(entry)) for entry in listed.entries],
        older=asked.onward(listed.next_page_token),
    )


def details_of(entry: billing_pb2.AuditEntry) -> dict[str, Any]:
    """The further facts, those that say something."""
    said = msgspec.json.decode(entry.details or "{}")
    return {name: value for name, value in said.items() if value not in ("", None)} if isinstance(said, dict) else {}


routes = [operator("/operator/audit", show)]
