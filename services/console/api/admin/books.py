"""Whether all is well: the processes of the deployment, what the books lack, and what could not be booked."""

from typing import Any, Final

import msgspec
from starlette.responses import Response

from services.console import live
from services.console.api.admin.resources import changing, listing, passed_on, reading, size_of
from services.console.api.operation import Call, plain
from tollhouse.v1 import ledger_pb2

_VERIFY_S: Final = 120.0
_REPLAY_S: Final = 60.0


async def list_replicas(call: Call) -> Any:
    """Every process as it announces itself."""
    found = await call.console.clients.ledger.ListReplicas(ledger_pb2.ListReplicasRequest())
    return passed_on(found.replicas, "")


async def watch_replicas(call: Call) -> Response:
    """The same, again and again."""

    async def said() -> str:
        return msgspec.json.encode(plain(await list_replicas(call))).decode()

    return live.stream(call.request, said, "replicas")


async def reconcile(call: Call) -> ledger_pb2.GetReconciliationResponse:
    """Usage of the last thirty days that nobody paid for, that is not exact, or not booked."""
    return await call.console.clients.ledger.GetReconciliation(ledger_pb2.GetReconciliationRequest())


async def verify(call: Call) -> ledger_pb2.VerifyBooksResponse:
    """Compares the books with themselves now: reads every usage record."""
    return await call.console.clients.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest(), timeout=_VERIFY_S)


async def list_dead_letters(call: Call) -> Any:
    """Usage messages that could not be booked, oldest first."""
    asked = ledger_pb2.ListDeadLettersRequest(limit=size_of(call))
    return passed_on((await call.console.clients.ledger.ListDeadLetters(asked)).letters, "")


async def replay(call: Call) -> ledger_pb2.ReplayDeadLettersResponse:
    """Has dead letters booked once more: those that are named, or all."""
    return await call.console.clients.ledger.ReplayDeadLetters(call.body, timeout=_REPLAY_S)


operations = (
    listing("/replicas", "listReplicas", "Every process as it announces itself", list_replicas, ledger_pb2.Replica),
    reading(
        "/replicas/live",
        "watchReplicas",
        "The same every two seconds, as events `replicas`; ends after half a minute",
        watch_replicas,
        ledger_pb2.Replica,
        listed=True,
        current=None,
        media=live.MEDIA,
    ),
    reading(
        "/reconciliation",
        "getReconciliation",
        "Usage that nobody paid for, that is not exact, or not booked",
        reconcile,
        ledger_pb2.GetReconciliationResponse,
        current=None,
    ),
    changing(
        "POST",
        "/reconciliation/verify",
        "verifyBooks",
        "Compares the books with themselves now",
        verify,
        ledger_pb2.VerifyBooksResponse,
        target="books",
    ),
    listing(
        "/dead-letters",
        "listDeadLetters",
        "Usage messages that could not be booked, oldest first",
        list_dead_letters,
        ledger_pb2.DeadLetter,
    ),
    changing(
        "POST",
        "/dead-letters/replay",
        "replayDeadLetters",
        "Has them booked once more",
        replay,
        ledger_pb2.ReplayDeadLettersResponse,
        body=ledger_pb2.ReplayDeadLettersRequest,
        target="dead letters",
    ),
)
