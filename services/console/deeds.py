"""What operators change: noted in the audit log with who did it, before it is done.

The ledger's own calls write their row in the transaction of the change. For all others the row is written first:
without it nothing is changed, and a change that was refused afterwards is noted as that (docs/adr/0027).
"""

from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.requests import Request

from services.console.console import console_of
from services.console.forms import Form
from services.console.visit import person_of
from services.shared import ids
from services.shared.errors import Blame, Refusal
from tollhouse.v1 import billing_pb2

T = TypeVar("T")

NO_REASON: Final = "-"
_TEXT_LENGTH: Final = 200
_DETAIL_LENGTH: Final = 2000


def actor_of(request: Request) -> str:
    """Who does it, as the audit log names people."""
    return person_of(request).email[:_TEXT_LENGTH]


async def done(
    request: Request,
    action: str,
    target: str,
    change: Awaitable[T],
    *,
    reason: str = NO_REASON,
    **details: object,
) -> T:
    """Notes a deed, then does it. Raises Refusal, with nothing changed where the log could not be written."""
    deed = billing_pb2.RecordDeedRequest(
        idempotency_key=f"deed_{ids.ulid()}",
        actor=actor_of(request),
        action=action,
        target=printable(target) or NO_REASON,
        reason=printable(reason) or NO_REASON,
        details={name: str(value)[:_DETAIL_LENGTH] for name, value in details.items()},
    )
    billing = console_of(request).clients.billing
    try:
        await billing.RecordDeed(deed)
    except BaseException:
        if hasattr(change, "close"):
            change.close()
        raise
    try:
        return await change
    except Refusal as refusal:
        deed.idempotency_key += "_refused"
        deed.action = f"{action}_refused"
        deed.details["refusal"] = str(refusal)[:_DETAIL_LENGTH]
        await billing.RecordDeed(deed)
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
