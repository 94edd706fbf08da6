"""The ledger's gRPC service for service tokens."""

import re
from typing import Any, Final

from nats.aio.client import Client

from services.ledger.settlement import instant, unix_ms
from services.ledger.store.tokens import TokenRow, TokenStore
from services.ledger.tokens import INTERNAL, USAGE, Caller, new_token, token_hash
from services.shared import bus, clock, ids
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import tokens_pb2, tokens_pb2_grpc

_ID_PREFIX: Final = "tok_"
_MAX_NAME: Final = 50
_TENANT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Context = Any


class TokenApi(tokens_pb2_grpc.TokenServiceServicer):
    """Makes, lists and revokes service tokens."""

    def __init__(self, store: TokenStore, nc: Client) -> None:
        self._store = store
        self._nc = nc

    async def CreateToken(
        self, request: tokens_pb2.CreateTokenRequest, context: Context
    ) -> tokens_pb2.CreateTokenResponse:
        for fault in _faults(request):
            raise Refusal(Kind.INVALID_REQUEST, fault)
        secret = new_token()
        row = await self._store.add(
            _ID_PREFIX + ids.ulid(),
            token_hash(secret),
            request.name,
            request.scope,
            request.tenant_id,
            instant(request.expires_ms) if request.expires_ms else None,
        )
        return tokens_pb2.CreateTokenResponse(token=_token(row), secret=secret)

    async def ListTokens(
        self, request: tokens_pb2.ListTokensRequest, context: Context
    ) -> tokens_pb2.ListTokensResponse:
        return tokens_pb2.ListTokensResponse(tokens=[_token(row) for row in await self._store.newest()])

    async def RevokeToken(
        self, request: tokens_pb2.RevokeTokenRequest, context: Context
    ) -> tokens_pb2.RevokeTokenResponse:
        row = await self._store.revoke(request.token_id) if request.token_id.isprintable() else None
        if row is None:
            raise Refusal(Kind.NOT_FOUND, f"there is no service token {request.token_id!r}")
        await bus.announce(self._nc, bus.TOKENS_CHANGED, row.token_hash)
        return tokens_pb2.RevokeTokenResponse(token=_token(row))


def caller_of(row: TokenRow) -> Caller:
    """Who shows this token."""
    return Caller(row.token_id, tokens_pb2.TokenScope.ValueType(row.scope), row.tenant_id)


def _faults(request: tokens_pb2.CreateTokenRequest) -> list[str]:
    faults = []
    if not 1 <= len(request.name) <= _MAX_NAME or not request.name.isprintable():
        faults.append(f"name must have 1 to {_MAX_NAME} printable characters")
    if request.scope not in (USAGE, INTERNAL):
        faults.append("scope must be usage or internal")
    if request.tenant_id and (request.scope != USAGE or not _TENANT.fullmatch(request.tenant_id)):
        faults.append("tenant_id must be a tenant's id, and is for the scope usage only")
    if request.expires_ms and not clock.now_ms() < request.expires_ms <= ids.LAST_MS:
        faults.append("expires_ms is not in the future")
    return faults


def _token(row: TokenRow) -> tokens_pb2.ServiceToken:
    return tokens_pb2.ServiceToken(
        token_id=row.token_id,
        name=row.name,
        scope=tokens_pb2.TokenScope.ValueType(row.scope),
        tenant_id=row.tenant_id,
        created_ms=unix_ms(row.created_at),
        expires_ms=unix_ms(row.expires_at) if row.expires_at else 0,
        revoked_ms=unix_ms(row.revoked_at) if row.revoked_at else 0,
        last_used_on=row.last_used_on.isoformat() if row.last_used_on else "",
    )
