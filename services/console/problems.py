"""What callers that are no browsers see when something is refused: problem details (RFC 9457), or the form in which
New-API and its kin say it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from starlette.responses import Response

from services.console.throttle import Throttled
from services.shared.errors import Blame, Kind, Refusal

MEDIA: Final = "application/problem+json"
ADMIN: Final = "/api/admin/"
_PATHS: Final = ("/api/",)
_TYPE: Final = "urn:tollhouse:problem:"
_STATUSES: Final = {
    400: "invalid_request",
    401: "token_unknown",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    413: "request_too_large",
    422: "idempotency_key_reused",
    429: "rate_limited",
    503: "unavailable",
}


@dataclass(eq=False)  # not frozen: whoever handles an exception may set its traceback, as Starlette does
class Problem(Exception):
    """A refused call.

    Args:
        status: of HTTP.
        detail: a sentence for the person who reads it. Never a secret.
        kind: what programs tell problems apart by; that of the status when empty.
        param: the field that is at fault, if it is one.
        headers: further headers of the answer.
    """

    status: int
    detail: str
    kind: str = ""
    param: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def of_refusal(refusal: Refusal) -> Problem:
    """What a service refused; what only we can mend is not explained."""
    kind = refusal.kind
    detail = Kind.INTERNAL.meaning if kind is Kind.INTERNAL else refusal.message
    if kind.blame is Blame.OURS and kind is not Kind.INTERNAL:
        detail = kind.meaning
    return Problem(kind.http_status, detail, kind.label, refusal.details.get("param", ""))


def of_throttled(throttled: Throttled) -> Problem:
    """Too many attempts, and how long to wait: for people in the sentence, for programs in a header."""
    minutes = math.ceil(throttled.wait_s / 60)
    wait = "a minute" if minutes == 1 else f"{minutes} minutes"
    detail = f"Too many attempts. Please wait {wait}, then try again."
    return Problem(429, detail, headers={"retry-after": f"{throttled.wait_s:.0f}"})


def speaks_json(path: str) -> bool:
    """Whether those who ask for this path are programs."""
    return path.startswith(_PATHS)


def answer(path: str, problem: Problem) -> Response:
    """The problem in the form that the path's callers know."""
    if path.startswith(ADMIN) or path == "/api/openapi.json":
        return _details(problem)
    body = msgspec.json.encode({"success": False, "message": problem.detail})
    return Response(body, problem.status, dict(problem.headers), "application/json")


def _details(problem: Problem) -> Response:
    kind = problem.kind or _STATUSES.get(problem.status, "internal")
    said = {
        "type": _TYPE + kind,
        "title": kind.replace("_", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.param:
        said["param"] = problem.param
    return Response(msgspec.json.encode(said), problem.status, dict(problem.headers), MEDIA)
