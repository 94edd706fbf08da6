"""Who the caller is, as New-API says it."""

import asyncio
from typing import Any, Final

import msgspec

from services.console import self_service
from services.console.access_tokens import Scope
from services.console.api.key_forms import NANO_PER_QUOTA, of_data, success
from services.console.api.operation import Call, Operation
from services.shared import clock
from tollhouse.v1 import usage_pb2

_CUSTOMER: Final = 1
_OPERATOR: Final = 100
_ENABLED: Final = 1
_DAYS: Final = 365
_DAY_MS: Final = 24 * 3600 * clock.MS_PER_S


class UserObject(msgspec.Struct):
    """A person with their tenant's balance. `used_quota` and `request_count` are of the last 365 days."""

    id: str
    username: str
    display_name: str
    email: str
    role: int
    """1 a customer, 100 an operator."""
    status: int
    group: str
    tenant_id: str
    quota: int
    used_quota: int
    request_count: int


class PasswordChange(msgspec.Struct):
    """The password that is, and the one that is to be."""

    old_password: str
    new_password: str

    def __repr__(self) -> str:
        return "PasswordChange(...)"


async def myself(call: Call) -> Any:
    """Whoever asks, with what their tenant has and used."""
    person, usage = call.caller.person, call.console.clients.usage
    now_ms = clock.now_ms()
    balance, summary = await asyncio.gather(
        usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=person.tenant_id)),
        usage.SummarizeUsage(
            usage_pb2.SummarizeUsageRequest(
                tenant_id=person.tenant_id,
                period=usage_pb2.USAGE_PERIOD_DAY,
                from_ms=now_ms - (_DAYS - 1) * _DAY_MS,
                to_ms=now_ms,
            )
        ),
    )
    return success(
        UserObject(
            id=person.person_id,
            username=person.email,
            display_name=person.email,
            email=person.email,
            role=_OPERATOR if person.is_operator else _CUSTOMER,
            status=_ENABLED,
            group="default",
            tenant_id=person.tenant_id,
            quota=balance.available_nano // NANO_PER_QUOTA,
            used_quota=sum(bucket.cost_nano for bucket in summary.buckets) // NANO_PER_QUOTA,
            request_count=sum(bucket.requests for bucket in summary.buckets),
        )
    )


async def change_password(call: Call) -> Any:
    """Sets a new password; all sessions end but the caller's."""
    caller, wanted = call.caller, call.body
    await self_service.change_password(
        call.console, caller.person, caller.session_id, wanted.old_password, wanted.new_password, caller.address
    )
    return success()


operations = (
    Operation(
        method="GET",
        path="/api/user/self",
        name="getMyself",
        summary="Who the caller is, and what their tenant has",
        scope=Scope.ACCOUNT_READ,
        handle=myself,
        answer=of_data({"$ref": "#/components/schemas/UserObject"}),
    ),
    Operation(
        method="PUT",
        path="/api/user/password",
        name="changeOwnPassword",
        summary="Sets a new password; all sessions end but the caller's",
        scope=Scope.ACCOUNT_WRITE,
        handle=change_password,
        body=PasswordChange,
        answer=of_data(None),
        target="{own_email}",
    ),
)
