"""What is changed through the console, by pages and by programs: noted in the audit log before it is done.

The ledger's own calls write their row in the transaction of the change. For all others the row is written first:
without it nothing is changed, and a change that was refused afterwards is noted as that (docs/adr/0027).
"""

from __future__ import annotations  # the asynchronous stubs exist for type checkers only

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from starlette.requests import Request

from services.console.console import console_of
from services.console.forms import Form
from services.console.problems import Problem
from services.console.visit import person_of
from services.shared import ids
from services.shared.errors import Blame, Refusal
from tollhouse.v1 import billing_pb2, billing_pb2_grpc

T = TypeVar("T")

NO_REASON: Final = "-"
_REFUSED: Final = "_refused"
_TEXT_LENGTH: Final = 200
_KEY_LENGTH: Final = 200 - len(_REFUSED)
_DETAIL_LENGTH: Final = 2000


def actor_of(request: Request) -> str:
    """Who does it, as the audit log names people."""
    return person_of(request).email[:_TEXT_LENGTH]


async def done(
    request: Request,
    action: str,
    target: str,
    change: Callable[[], Awaitable[T]],
    *,
    reason: str = NO_REASON,
    **details: object,
) -> T:
    """Notes what a page was asked to do, then does it. Raises as `noted` does."""
    billing = console_of(request).clients.billing
    return await noted(billing, deed(f"deed_{ids.ulid()}", actor_of(request), action, target, reason, details), change)


def deed(
    key: str, actor: str, action: str, target: str, reason: str, details: Mapping[str, object]
) -> billing_pb2.RecordDeedRequest:
    """A row of the audit log, its texts as the log takes them; `key` is the id that it is written once under."""
    return billing_pb2.RecordDeedRequest(
        idempotency_key=key[:_KEY_LENGTH],
        actor=actor,
        action=action,
        target=printable(target) or NO_REASON,
        reason=printable(reason) or NO_REASON,
        details={name: str(value)[:_DETAIL_LENGTH] for name, value in details.items()},
    )


async def noted(
    billing: billing_pb2_grpc.BillingServiceAsyncStub,
    row: billing_pb2.RecordDeedRequest,
    change: Callable[[], Awaitable[T]],
) -> T:
    """Writes the row, then begins the change: a call of gRPC runs from when it is made, awaited or not. Raises Refusal,
    with nothing begun where the log could not be written, and what the change raises; a second row says when it was
    refused."""
    await billing.RecordDeed(row)
    try:
        return await change()
    except (Refusal, Problem) as refused:
        row.idempotency_key += _REFUSED
        row.action += _REFUSED
        said = refused.detail if isinstance(refused, Problem) else str(refused)
        row.details["refusal"] = said[:_DETAIL_LENGTH]
        await billing.RecordDeed(row)
        raise


def printable(text: str) -> str:
    """A text as the log takes it."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:_TEXT_LENGTH]


def beside(form: Form, refusal: Refusal, **fields: str) -> Form:
    """Puts what a service refused beside the field that its message begins with or names; `fields` are the service's
    words by the form's names. What is our own fault, or names no field, is of the whole form."""
    if refusal.kind.blame is Blame.OURS:
        raise refusal
    said = refusal.message.strip()
    first = said.split(" ", 1)[0].strip(":,'\"")
    spoken = said.replace("_", " ", 1) if "_" in first else said
    sentence = spoken[:1].upper() + spoken[1:] + ("" if spoken.endswith((".", "!", "?")) else ".")
    for name, word in fields.items():
        if first == word:
            return form.wrong(name, sentence)
    for name, word in fields.items():
        if word in said:
            return form.wrong(name, sentence)
    return form.wrong("", sentence)
