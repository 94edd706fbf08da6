"""A person's own sessions of the console: listed, and ended."""

from datetime import datetime
from typing import Any, Final

import msgspec

from services.console import self_service
from services.console.access_tokens import Scope
from services.console.api.key_forms import of_data, success
from services.console.api.operation import Call, Operation

PATH: Final = "/api/user/sessions"


class SessionObject(msgspec.Struct):
    """One session. Times are Unix seconds."""

    id: str
    created_time: int
    seen_time: int
    address: str
    user_agent: str
    current: bool
    """Whether the caller came with it."""


async def list_sessions(call: Call) -> Any:
    """Those that run, the one that was used last first."""
    return success(
        [
            SessionObject(
                id=session.session_id,
                created_time=seconds(session.created_at),
                seen_time=seconds(session.seen_at),
                address=session.address,
                user_agent=session.user_agent,
                current=session.session_id == call.caller.session_id,
            )
            for session in await call.console.store.sessions(call.caller.person.person_id)
        ]
    )


async def end_session(call: Call) -> Any:
    """Ends one of them."""
    await self_service.end_session(call.console, call.caller.person, call.path("session_id"))
    return success()


async def end_others(call: Call) -> Any:
    """Ends all but the one that the caller came with: all of them for an access token."""
    await call.console.store.end_sessions(call.caller.person.person_id, but=call.caller.session_id)
    return success()


def seconds(at: datetime) -> int:
    """Unix seconds."""
    return int(at.timestamp())


NAMED: Final = (SessionObject,)

operations = (
    Operation(
        method="GET",
        path=PATH,
        name="listOwnSessions",
        summary="The caller's sessions, the one that was used last first",
        scope=Scope.ACCOUNT_READ,
        handle=list_sessions,
        answer=of_data({"type": "array", "items": {"$ref": "#/components/schemas/SessionObject"}}),
    ),
    Operation(
        method="DELETE",
        path=PATH,
        name="endOtherOwnSessions",
        summary="Ends all sessions but the caller's",
        scope=Scope.ACCOUNT_WRITE,
        handle=end_others,
        answer=of_data(None),
        target="{own_email}",
    ),
    Operation(
        method="DELETE",
        path=PATH + "/{session_id}",
        name="endOwnSession",
        summary="Ends a session",
        scope=Scope.ACCOUNT_WRITE,
        handle=end_session,
        answer=of_data(None),
        target="{session_id}",
    ),
)
