"""Whether the books are right: usage nobody paid for, usage that is not exact or not booked, and what was parked."""

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import fields
from services.console.rendering import redirect
from services.shared.errors import Refusal
from tollhouse.v1 import ledger_pb2

_PATH = "/operator/reconciliation"
_LETTERS = 50
_VERIFY_S = 120.0
_REPLAY_S = 60.0


async def show(request: Request) -> Response:
    """All of it but the verification, which reads every record and is asked for."""
    return await _page(request)


async def replay(request: Request) -> Response:
    """Has dead letters booked once more: one, or all of them."""
    form = await Form.read(request, "sequence")
    try:
        sequence = fields.whole(form["sequence"], most=2**63)
    except ValueError as error:
        return await _page(request, form=form.wrong("", str(error)), status=422)
    asked = ledger_pb2.ReplayDeadLettersRequest(sequences=[sequence] if sequence else [])
    change = partial(console_of(request).clients.ledger.ReplayDeadLetters, asked, timeout=_REPLAY_S)
    try:
        await deeds.done(request, "replay_dead_letters", str(sequence or "all"), change)
    except Refusal as refusal:
        return await _page(request, form=deeds.beside(form, refusal), status=422)
    return redirect(request, _PATH, "replayed")


async def verify(request: Request) -> Response:
    """Compares the books with themselves now."""
    change = partial(console_of(request).clients.ledger.VerifyBooks, ledger_pb2.VerifyBooksRequest(), timeout=_VERIFY_S)
    verified = await deeds.done(request, "verify_books", "books", change)
    return await _page(request, checks=list(verified.checks))


async def _page(
    request: Request,
    form: Form | None = None,
    status: int = 200,
    checks: list[ledger_pb2.BooksCheck] | None = None,
) -> Response:
    console = console_of(request)
    found, dead = await asyncio.gather(
        console.clients.ledger.GetReconciliation(ledger_pb2.GetReconciliationRequest()),
        console.clients.ledger.ListDeadLetters(ledger_pb2.ListDeadLettersRequest(limit=_LETTERS)),
    )
    return console.renderer.page(
        request,
        "operators/reconciliation.html",
        status,
        found=found,
        letters=dead.letters,
        checks=checks,
        form=form or Form(),
        percent=fields.percent,
    )


routes = [
    operator(_PATH, show),
    operator(f"{_PATH}/replay", replay, ["POST"]),
    operator(f"{_PATH}/verify", verify, ["POST"]),
]
