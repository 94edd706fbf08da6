"""Idempotency keys: a change that is sent twice happens once, and is answered as it was the first time.

As draft-ietf-httpapi-idempotency-key-header has it: the same key for another request is 422, while the first call is
under way it is 409. Answers are kept for a day, sealed, since some hold what is shown once. A call that failed on our
side keeps nothing, and may be sent again under its key.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.console.api.caller import Caller
from services.console.console import console_of
from services.console.problems import Problem
from services.console.token_store import KeptAnswer
from services.shared.sealing import Sealer

HEADER: Final = "idempotency-key"
MOST: Final = 200
"""Characters of a key."""
REPLAYED: Final = "idempotency-replayed"
_PURPOSE: Final = "call of the management API\n"
_KEPT_HEADERS: Final = ("content-type", "etag", "location")


class _Sealed(msgspec.Struct):
    headers: dict[str, str]
    body: bytes


def key_of(request: Request) -> str:
    """The caller's idempotency key; empty without one. Raises Problem."""
    key = request.headers.get(HEADER, "").strip().strip('"')
    if len(key) > MOST or not key.isprintable() or not key.isascii():
        raise Problem(400, f"Idempotency-Key has at most {MOST} printable characters.", param=HEADER)
    return key


def downstream(caller: Caller, key: str) -> str:
    """The id under which a service makes a change of this key's call, whoever's key is spelled the same."""
    return "api-" + hashlib.sha256(f"{caller.person.person_id}\n{key}".encode()).hexdigest()


async def once(request: Request, caller: Caller, key: str, change: Callable[[], Awaitable[Response]]) -> Response:
    """Makes the change, unless its key was used before: then the answer is that of the first call. Raises Problem."""
    console, person_id = console_of(request), caller.person.person_id
    fingerprints, sealer = console.master_keys.digests(await _asked(request)), console.master_keys.sealer
    kept = await console.tokens.claim(person_id, key, fingerprints[0])
    if kept is not None:
        return _again(kept, fingerprints, sealer, person_id)
    try:
        response = await change()
    except BaseException:
        await console.tokens.give_up(person_id, key)
        raise
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    said = msgspec.json.encode(_Sealed(headers, bytes(response.body))).decode()
    await console.tokens.keep(person_id, key, response.status_code, sealer.seal(said, person_id))
    return response


def _again(kept: KeptAnswer, fingerprints: Sequence[bytes], sealer: Sealer, person_id: str) -> Response:
    if kept.fingerprint not in fingerprints:
        raise Problem(422, "This Idempotency-Key was used for another request.", param=HEADER)
    if kept.status is None or kept.sealed is None:
        raise Problem(
            409, "The first call under this Idempotency-Key is still under way.", headers={"retry-after": "1"}
        )
    said = msgspec.json.decode(sealer.open(bytes(kept.sealed), person_id), type=_Sealed)
    return Response(said.body, kept.status, said.headers | {REPLAYED: "true"})


async def _asked(request: Request) -> bytes:
    """What tells a call from another. Bodies may hold passwords, so it is kept as a keyed hash: the database alone must
    not help to guess them."""
    return f"{_PURPOSE}{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body()
