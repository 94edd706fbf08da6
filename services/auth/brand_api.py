"""auth's gRPC service, what operators call about brands, and about what a key may call and who may see it again."""

from datetime import datetime
from typing import Any

from nats.aio.client import Client
from psycopg.errors import ForeignKeyViolation

from services.auth import access, brands, policies
from services.auth.store import BrandRow, HostTaken, KeyRow, PrefixInUse, Store
from services.shared import bus, principal
from services.shared.errors import Kind, Refusal
from services.shared.sealing import Sealer, Unsealable
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2, auth_pb2_grpc

Context = Any

_log = logger("brand_api")


class BrandManagement(auth_pb2_grpc.AuthServiceServicer):
    """Brands, and keys as far as a brand has a say in them."""

    def __init__(self, store: Store, nc: Client, sealer: Sealer) -> None:
        self._store = store
        self._nc = nc
        self._sealer = sealer

    # ---- brands ----

    async def PutBrand(self, request: auth_pb2.PutBrandRequest, context: Context) -> auth_pb2.PutBrandResponse:
        brand = brands.completed(request.brand)
        try:
            await self._store.put_brand(brand.name, brand.hosts, brand.is_default, brands.stored(brand))
        except HostTaken as taken:
            raise Refusal(Kind.INVALID_REQUEST, f"hosts: another brand has {str(taken)!r}", param="hosts") from None
        except PrefixInUse as prefix:
            raise Refusal(
                Kind.INVALID_REQUEST,
                f"key_prefix: the brand has keys that begin with {str(prefix)!r}, and they would be known no more",
                param="key_prefix",
            ) from None
        await bus.announce(self._nc, bus.BRAND_CHANGED, brand.name.encode())
        return auth_pb2.PutBrandResponse(brand=brand)

    async def ListBrands(self, request: auth_pb2.ListBrandsRequest, context: Context) -> auth_pb2.ListBrandsResponse:
        return auth_pb2.ListBrandsResponse(brands=[_brand(row) for row in await self._store.brands()])

    async def DeleteBrand(self, request: auth_pb2.DeleteBrandRequest, context: Context) -> auth_pb2.DeleteBrandResponse:
        try:
            await self._store.delete_brand(request.name)
        except ForeignKeyViolation:
            raise Refusal(
                Kind.INVALID_REQUEST, f"the brand {request.name!r} is in use: delete its keys first"
            ) from None
        await bus.announce(self._nc, bus.BRAND_CHANGED, request.name.encode())
        return auth_pb2.DeleteBrandResponse()

    async def _brand_for(self, name: str) -> auth_pb2.Brand:
        """The brand of this name; the default one, or what no brand says, where it is empty. Raises Refusal."""
        row = await self._store.brand(name)
        if row is not None:
            return _brand(row)
        if name:
            raise Refusal(Kind.NOT_FOUND, f"there is no brand {name!r}")
        return auth_pb2.Brand(key_prefix=principal.KEY_PREFIX, mask=principal.MASK)

    # ---- keys ----

    async def SetKeyAccess(
        self, request: auth_pb2.SetKeyAccessRequest, context: Context
    ) -> auth_pb2.SetKeyAccessResponse:
        models, addresses = access.listed_models(request.models), access.listed_addresses(request.addresses)
        await self._store.set_key_access(request.key_id, models, addresses)
        row = await self._key_row(request.key_id)
        await bus.announce(self._nc, bus.KEY_CHANGED, bytes(row.key_hash))
        return auth_pb2.SetKeyAccessResponse(key=key_message(row))

    async def RevealKey(self, request: auth_pb2.RevealKeyRequest, context: Context) -> auth_pb2.RevealKeyResponse:
        row = await self._key_row(request.key_id)
        sealed = await self._store.sealed_key(request.key_id)
        if sealed is None:
            raise Refusal(Kind.INVALID_REQUEST, "the key was shown once, when it was made; no copy of it is kept")
        try:
            secret = self._sealer.open(sealed, request.key_id)
        except Unsealable:
            raise Refusal(Kind.INVALID_REQUEST, "the key's copy was sealed under another pepper") from None
        _log.info("key_revealed", key_id=request.key_id, tenant_id=row.tenant_id)
        return auth_pb2.RevealKeyResponse(secret=secret)

    async def _key_row(self, key_id: str) -> KeyRow:
        row = await self._store.key(key_id)
        if row is None:
            raise Refusal(Kind.NOT_FOUND, f"there is no key {key_id!r}")
        return row


def key_message(row: KeyRow) -> auth_pb2.Key:
    """A key without its secret."""
    return auth_pb2.Key(
        key_id=row.key_id,
        tenant_id=row.tenant_id,
        name=row.name,
        hint=row.hint,
        enabled=row.enabled,
        created_ms=ms_of(row.created_at),
        expires_ms=ms_of(row.expires_at),
        spend_cap_nano=row.spend_cap_nano,
        group=row.group_name,
        plan=row.plan or "",
        limits=policies.limits_of(row.limits),
        brand=row.brand or "",
        models=row.models,
        addresses=row.addresses,
        revealable=row.revealable,
    )


def ms_of(at: datetime | None) -> int:
    """Unix milliseconds; 0 for never."""
    return 0 if at is None else int(at.timestamp() * 1000)


def _brand(row: BrandRow) -> auth_pb2.Brand:
    return brands.brand_of(row.name, row.hosts, row.is_default, row.form)
