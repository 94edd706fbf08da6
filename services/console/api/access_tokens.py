"""A person's own access tokens: listed, made by who is signed in, revoked."""

from typing import Any, Final

import msgspec

from services.console import self_service
from services.console.access_tokens import BY_LABEL, AccessToken, Scope
from services.console.api.key_forms import of_data, success
from services.console.api.operation import Call, Operation
from services.console.api.sessions import seconds
from services.console.problems import Problem

PATH: Final = "/api/user/access-tokens"


class AccessTokenObject(msgspec.Struct):
    """A token without its secret. Times are Unix seconds; 0 for what has not happened."""

    id: str
    name: str
    scopes: list[str]
    created_time: int
    expired_time: int
    used_time: int
    revoked_time: int


class NewAccessToken(msgspec.Struct):
    """A token to make."""

    name: str
    scopes: list[str]
    days: int


async def list_tokens(call: Call) -> Any:
    """The caller's, newest first; those that ended a month ago or longer are left out."""
    return success([_object(token) for token in await call.console.tokens.of_person(call.caller.person.person_id)])


async def create_token(call: Call) -> Any:
    """Makes one. Not for access tokens: one that leaked could outlive its own end."""
    wanted: NewAccessToken = call.body
    unknown = sorted(set(wanted.scopes) - BY_LABEL.keys())
    if unknown:
        raise Problem(400, f"scopes: there is no {unknown[0][:50]}.", param="scopes")
    scopes = [scope for scope in Scope if scope.label in wanted.scopes]
    token_id, secret = await self_service.make_token(call.console, call.caller.person, wanted.name, scopes, wanted.days)
    return success({"id": token_id, "access_token": secret})


async def revoke_token(call: Call) -> Any:
    """Ends one, at once and for good."""
    await self_service.revoke_token(call.console, call.caller.person, call.path("token_id"))
    return success()


def _object(token: AccessToken) -> AccessTokenObject:
    return AccessTokenObject(
        id=token.token_id,
        name=token.name,
        scopes=token.scopes,
        created_time=seconds(token.created_at),
        expired_time=seconds(token.expires_at),
        used_time=seconds(token.used_at) if token.used_at else 0,
        revoked_time=seconds(token.revoked_at) if token.revoked_at else 0,
    )


NAMED: Final = (AccessTokenObject,)

operations = (
    Operation(
        method="GET",
        path=PATH,
        name="listOwnAccessTokens",
        summary="The caller's access tokens without their secrets, newest first",
        scope=Scope.ACCOUNT_READ,
        handle=list_tokens,
        answer=of_data({"type": "array", "items": {"$ref": "#/components/schemas/AccessTokenObject"}}),
    ),
    Operation(
        method="POST",
        path=PATH,
        name="createOwnAccessToken",
        summary="Makes an access token and shows it, this once; takes a session",
        scope=Scope.ACCOUNT_WRITE,
        handle=create_token,
        body=NewAccessToken,
        answer=of_data(
            {"type": "object", "properties": {"id": {"type": "string"}, "access_token": {"type": "string"}}}
        ),
        by_session=True,
        target="{own_email}",
    ),
    Operation(
        method="DELETE",
        path=PATH + "/{token_id}",
        name="revokeOwnAccessToken",
        summary="Ends an access token, at once and for good",
        scope=Scope.ACCOUNT_WRITE,
        handle=revoke_token,
        answer=of_data(None),
        target="{token_id}",
    ),
)
