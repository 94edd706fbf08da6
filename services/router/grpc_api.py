"""router's gRPC service: decisions for edges, management of upstream accounts."""

import random
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

from nats.aio.client import Client

from services.router.catalog import Catalog
from services.router.credentials import Sealer
from services.router.leases import Leases
from services.router.picker import Account, pick
from services.router.store import Store
from services.shared import bus, clock
from services.shared.batching import answer_stream
from services.shared.errors import Kind, Refusal, to_detail
from tollhouse.v1 import router_pb2, router_pb2_grpc

_KINDS: Final = {
    "anthropic": router_pb2.UPSTREAM_KIND_ANTHROPIC,
    "simulator": router_pb2.UPSTREAM_KIND_SIMULATOR,
}
_KIND_NAMES: Final = {number: name for name, number in _KINDS.items()}

Context = Any


class RouterApi(router_pb2_grpc.RouterServiceServicer):
    """Which upstream account takes an attempt."""

    def __init__(self, store: Store, catalog: Catalog, leases: Leases, sealer: Sealer, nc: Client) -> None:
        self._store = store
        self._catalog = catalog
        self._leases = leases
        self._sealer = sealer
        self._nc = nc

    # ---- decisions ----

    async def DecideStream(  # type: ignore[override]
        self, request_iterator: AsyncIterator[router_pb2.RouterDecideRequest], context: Context
    ) -> None:
        await answer_stream(request_iterator, context, lambda request: (self._decide(request), []))

    async def Decide(
        self, request: router_pb2.RouterDecideRequest, context: Context
    ) -> router_pb2.RouterDecideResponse:
        return self._decide(request)

    def _decide(self, request: router_pb2.RouterDecideRequest) -> router_pb2.RouterDecideResponse:
        response = router_pb2.RouterDecideResponse(sequence=request.sequence)
        # What ends a lease of this very batch waits for it; everything else frees slots for the picks to come.
        early = [self._leases.end(report.lease_id) for report in request.report]
        now_s = clock.monotonic_s()
        for item in request.pick:
            try:
                account = self._pick(item, now_s)
            except Refusal as refusal:
                response.pick.add(id=item.id, error=to_detail(refusal))
                continue
            response.pick.add(
                id=item.id,
                upstream_account_id=account.upstream_account_id,
                kind=_KINDS[account.kind],
                base_url=account.base_url,
                credential=account.credential,
                upstream_model=account.models[item.model],
            )
        for report, done in zip(request.report, early, strict=True):
            if not done:
                self._leases.end(report.lease_id)
            response.report.add(id=report.id)
        return response

    def _pick(self, item: router_pb2.PickItem, now_s: float) -> Account:
        candidates = self._catalog.serving(item.model)
        if candidates is None:
            raise Refusal(Kind.MODEL_UNKNOWN, f"there is no model {item.model!r}")
        standing = self._leases.held_by(item.lease_id)
        for account in candidates:
            if account.upstream_account_id == standing:
                return account
        account_or_none = pick(candidates, item.exclude, self._leases.in_flight, random.random)
        if account_or_none is None:
            raise Refusal(Kind.NO_HEALTHY_ACCOUNT, f"no upstream account can serve {item.model!r} now")
        self._leases.take(item.lease_id, account_or_none.upstream_account_id, now_s)
        return account_or_none

    async def ListModels(
        self, request: router_pb2.ListModelsRequest, context: Context
    ) -> router_pb2.ListModelsResponse:
        models = [
            router_pb2.Model(model=model, display_name=model, created_ms=created_ms)
            for model, created_ms in self._catalog.models()
        ]
        return router_pb2.ListModelsResponse(models=models)

    # ---- upstream accounts ----

    async def PutUpstreamAccount(
        self, request: router_pb2.PutUpstreamAccountRequest, context: Context
    ) -> router_pb2.PutUpstreamAccountResponse:
        account = request.account
        _check(account, request.credential)
        account_id = await self._store.account_id(account.name)
        await self._store.put_account(
            account_id,
            account.name,
            _KIND_NAMES[account.kind],
            account.base_url.rstrip("/"),
            self._sealer.seal(request.credential, account_id),
            account.priority,
            account.enabled,
            account.models,
        )
        await self._reload(account.name)
        return router_pb2.PutUpstreamAccountResponse(account=self._account(account.name))

    async def ListUpstreamAccounts(
        self, request: router_pb2.ListUpstreamAccountsRequest, context: Context
    ) -> router_pb2.ListUpstreamAccountsResponse:
        names = sorted(account.name for account in self._catalog.accounts)
        return router_pb2.ListUpstreamAccountsResponse(accounts=[self._account(name) for name in names])

    async def SetUpstreamAccountEnabled(
        self, request: router_pb2.SetUpstreamAccountEnabledRequest, context: Context
    ) -> router_pb2.SetUpstreamAccountEnabledResponse:
        await self._store.set_enabled(request.name, request.enabled)
        await self._reload(request.name)
        return router_pb2.SetUpstreamAccountEnabledResponse(account=self._account(request.name))

    async def DeleteUpstreamAccount(
        self, request: router_pb2.DeleteUpstreamAccountRequest, context: Context
    ) -> router_pb2.DeleteUpstreamAccountResponse:
        await self._store.delete(request.name)
        await self._reload(request.name)
        return router_pb2.DeleteUpstreamAccountResponse()

    async def _reload(self, name: str) -> None:
        await self._catalog.load()
        await bus.announce(self._nc, bus.CATALOG_CHANGED, name.encode())

    def _account(self, name: str) -> router_pb2.UpstreamAccount:
        for account in self._catalog.accounts:
            if account.name == name:
                return router_pb2.UpstreamAccount(
                    upstream_account_id=account.upstream_account_id,
                    name=account.name,
                    kind=_KINDS[account.kind],
                    base_url=account.base_url,
                    models=account.models,
                    priority=account.priority,
                    enabled=account.enabled,
                    created_ms=account.created_ms,
                    in_flight=self._leases.in_flight(account.upstream_account_id),
                )
        raise Refusal(Kind.NOT_FOUND, f"there is no upstream account {name!r}")


def _check(account: router_pb2.UpstreamAccount, credential: str) -> None:
    """Raises Refusal when an upstream account cannot be stored as it is."""
    if not account.name or len(account.name) > 100:
        raise Refusal(Kind.INVALID_REQUEST, "name is needed, of at most 100 characters")
    if account.kind not in _KIND_NAMES:
        raise Refusal(Kind.INVALID_REQUEST, f"kind must be one of {', '.join(_KINDS)}")
    if not credential or not credential.isascii() or not credential.isprintable() or credential != credential.strip():
        raise Refusal(Kind.INVALID_REQUEST, "credential is needed: printable ASCII without blanks around it")
    try:
        url = urlsplit(account.base_url)
        well_formed = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        well_formed = False
        url = urlsplit("")
    if not well_formed or url.username or url.password or url.query or url.fragment:
        raise Refusal(Kind.INVALID_REQUEST, f"base_url {account.base_url!r} is not an http(s) URL of a host")
    if not account.models or any(not public or not name for public, name in account.models.items()):
        raise Refusal(Kind.INVALID_REQUEST, "models is needed: public id to the name at the upstream")
