"""A person's own one-time codes: turned on with a device, turned off with the password."""

from typing import Any, Final

import msgspec

from services.console import self_service
from services.console.access_tokens import Scope
from services.console.api.key_forms import of_data, success
from services.console.api.messages import Schema
from services.console.api.operation import Call, Operation
from services.console.visit import visit_of

PATH: Final = "/api/user/codes"


class OneTimeCode(msgspec.Struct):
    """What the device shows now."""

    code: str


class Password(msgspec.Struct):
    """The caller's password."""

    password: str

    def __repr__(self) -> str:
        return "Password(...)"


async def standing(call: Call) -> Any:
    """Whether codes are on, and how many recovery codes are left."""
    person = call.caller.person
    on = await call.console.codes.wanted_of(person)
    left = await call.console.store.recovery_codes_left(person.person_id) if on else 0
    return success({"on": on, "recovery_codes_left": left})


async def begin(call: Call) -> Any:
    """Makes a secret for a device."""
    issuer = visit_of(call.request).title
    device = await self_service.begin_codes(call.console, call.caller.person, issuer)
    return success({"secret": device.secret, "uri": device.uri})


async def confirm(call: Call) -> Any:
    """Turns codes on; the recovery codes are shown here alone."""
    codes = await self_service.confirm_codes(call.console, call.caller.person, call.body.code)
    return success({"recovery_codes": codes})


async def drop(call: Call) -> Any:
    """Turns codes off."""
    caller = call.caller
    await self_service.drop_codes(call.console, caller.person, call.body.password, caller.address)
    return success()


_STRING: Final[Schema] = {"type": "string"}


def _has(**properties: Schema) -> dict[str, Schema]:
    return of_data({"type": "object", "properties": properties})


operations = (
    Operation(
        method="GET",
        path=PATH,
        name="getOwnCodes",
        summary="Whether one-time codes are on, and how many recovery codes are left",
        scope=Scope.ACCOUNT_READ,
        handle=standing,
        answer=_has(on={"type": "boolean"}, recovery_codes_left={"type": "integer"}),
    ),
    Operation(
        method="POST",
        path=PATH,
        name="beginOwnCodes",
        summary="Makes a secret for a device; nothing is asked for before it is confirmed",
        scope=Scope.ACCOUNT_WRITE,
        handle=begin,
        answer=_has(secret=_STRING, uri=_STRING),
        target="{own_email}",
    ),
    Operation(
        method="POST",
        path=PATH + "/confirm",
        name="confirmOwnCodes",
        summary="Turns one-time codes on with one of the device; answers the recovery codes, this once",
        scope=Scope.ACCOUNT_WRITE,
        handle=confirm,
        body=OneTimeCode,
        answer=_has(recovery_codes={"type": "array", "items": _STRING}),
        target="{own_email}",
    ),
    Operation(
        method="POST",
        path=PATH + "/drop",
        name="dropOwnCodes",
        summary="Turns one-time codes off; takes the password",
        scope=Scope.ACCOUNT_WRITE,
        handle=drop,
        body=Password,
        answer=of_data(None),
        target="{own_email}",
    ),
)
