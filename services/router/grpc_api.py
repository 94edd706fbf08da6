"""router's gRPC service: decisions for edges; management of upstream accounts, pools, groups and models."""

from collections.abc import AsyncIterator
from typing import Any, Final

from nats.aio.client import Client

from services.router import forms, trial
from services.router.accounts import Account
from services.router.catalog import Catalog, Model, PoolSummary
from services.router.cooldowns import Cooldowns
from services.router.credentials import Sealer, Unsealable
from services.router.decide import Decider
from services.router.explanations import Explanations
from services.router.kinds import KINDS
from services.router.leases import Leases
from services.router.reach import Reach
from services.router.rows import AccountFilter, AccountRow, GroupRow
from services.router.store import Overtaken, PoolInUse, Store, UnknownPool
from services.shared import bus, clock, ids
from services.shared.batching import answer_stream
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2, router_pb2_grpc

Context = Any

_PAGE_MOST: Final = 500
_SEARCH_LENGTH: Final = 100
_ALL: Final = 1_000_000


class RouterApi(router_pb2_grpc.RouterServiceServicer):
    """Which upstream account takes an attempt, and what there is to take."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        leases: Leases,
        cooldowns: Cooldowns,
        decider: Decider,
        explanations: Explanations,
        sealer: Sealer,
        nc: Client,
        reach: Reach,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._leases = leases
        self._cooldowns = cooldowns
        self._decider = decider
        self._explanations = explanations
        self._sealer = sealer
        self._nc = nc
        self._reach = reach

    # ---- decisions ----

    async def DecideStream(  # type: ignore[override]
        self, request_iterator: AsyncIterator[router_pb2.RouterDecideRequest], context: Context
    ) -> None:
        await answer_stream(request_iterator, context, self._decider.decide)

    async def Decide(
        self, request: router_pb2.RouterDecideRequest, context: Context
    ) -> router_pb2.RouterDecideResponse:
        return await self._decider.decide_all(request)

    async def ExplainRoute(
        self, request: router_pb2.ExplainRouteRequest, context: Context
    ) -> router_pb2.ExplainRouteResponse:
        decisions = await self._explanations.of(request.request_id)
        if not decisions:
            raise Refusal(Kind.NOT_FOUND, f"no router remembers how {request.request_id!r} was routed")
        return router_pb2.ExplainRouteResponse(decisions=decisions)

    # ---- what there is ----

    async def ListModels(
        self, request: router_pb2.ListModelsRequest, context: Context
    ) -> router_pb2.ListModelsResponse:
        return router_pb2.ListModelsResponse(models=map(_model, self._catalog.models()))

    async def GetRoutes(self, request: router_pb2.GetRoutesRequest, context: Context) -> router_pb2.GetRoutesResponse:
        return router_pb2.GetRoutesResponse(
            pools=map(_pool, self._catalog.pools()),
            groups=map(_group, self._catalog.groups),
            models=map(_model, self._catalog.models()),
        )

    # ---- pools, groups, models ----

    async def PutPool(self, request: router_pb2.PutPoolRequest, context: Context) -> router_pb2.PutPoolResponse:
        name = forms.named("pool", request.name)
        await self._store.put_pool(name)
        await self._reload(name)
        pool = next((pool for pool in self._catalog.pools() if pool.name == name), None)
        if pool is None:
            raise Refusal(Kind.NOT_FOUND, f"the pool {name!r} was deleted at the same time")
        return router_pb2.PutPoolResponse(pool=_pool(pool))

    async def ListPools(self, request: router_pb2.ListPoolsRequest, context: Context) -> router_pb2.ListPoolsResponse:
        return router_pb2.ListPoolsResponse(pools=map(_pool, self._catalog.pools()))

    async def DeletePool(
        self, request: router_pb2.DeletePoolRequest, context: Context
    ) -> router_pb2.DeletePoolResponse:
        if request.name == forms.DEFAULT:
            raise Refusal(Kind.INVALID_REQUEST, "the pool default stays: it takes the accounts that name no other")
        try:
            await self._store.delete_pool(request.name)
        except PoolInUse:
            await self._catalog.load()
            raise Refusal(Kind.INVALID_REQUEST, self._uses(request.name)) from None
        await self._reload(request.name)
        return router_pb2.DeletePoolResponse()

    async def PutGroup(self, request: router_pb2.PutGroupRequest, context: Context) -> router_pb2.PutGroupResponse:
        name, pools = forms.group(request.group)
        try:
            await self._store.put_group(name, pools)
        except UnknownPool:
            await self._catalog.load()
            unknown = [pool for pool in pools if self._catalog.pool(pool) is None]
            raise Refusal(Kind.NOT_FOUND, f"there is no pool {', '.join(map(repr, unknown))}") from None
        await self._reload(name)
        return router_pb2.PutGroupResponse(group=router_pb2.Group(name=name, pools=pools))

    async def ListGroups(
        self, request: router_pb2.ListGroupsRequest, context: Context
    ) -> router_pb2.ListGroupsResponse:
        return router_pb2.ListGroupsResponse(groups=map(_group, self._catalog.groups))

    async def DeleteGroup(
        self, request: router_pb2.DeleteGroupRequest, context: Context
    ) -> router_pb2.DeleteGroupResponse:
        if request.name == forms.DEFAULT:
            raise Refusal(Kind.INVALID_REQUEST, "the group default stays: it is that of keys that were given no other")
        await self._store.delete_group(request.name)
        await self._reload(request.name)
        return router_pb2.DeleteGroupResponse()

    async def PutModel(self, request: router_pb2.PutModelRequest, context: Context) -> router_pb2.PutModelResponse:
        row = forms.model(request.model)
        await self._store.put_model(row)
        await self._reload(row.model)
        served = next((model for model in self._catalog.models() if model.model == row.model), None)
        return router_pb2.PutModelResponse(model=_model(served or Model.of(row)))

    # ---- upstream accounts ----

    async def PutUpstreamAccount(
        self, request: router_pb2.PutUpstreamAccountRequest, context: Context
    ) -> router_pb2.PutUpstreamAccountResponse:
        change = forms.account(request.account)
        await self._reach.check(change)
        row = await self._store.account(change.name)
        account_id = row.upstream_account_id if row else f"acc_{ids.ulid()}"
        sealed = self._sealed(row, account_id, request.credential)
        try:
            await self._store.put_account(account_id, change, sealed)
        except UnknownPool:
            raise Refusal(Kind.NOT_FOUND, f"there is no pool {change.pool!r}") from None
        except Overtaken:
            raise Refusal(Kind.INVALID_REQUEST, f"{change.name!r} was added or deleted at the same moment") from None
        await self._reload(change.name)
        return router_pb2.PutUpstreamAccountResponse(account=self._shown(change.name))

    async def SetUpstreamCredential(
        self, request: router_pb2.SetUpstreamCredentialRequest, context: Context
    ) -> router_pb2.SetUpstreamCredentialResponse:
        row = await self._store.account(request.name)
        if row is None:
            raise _unknown(request.name)
        account_id = row.upstream_account_id
        await self._store.set_credential(
            account_id, self._sealer.seal(forms.credential(request.credential), account_id)
        )
        # Sealed anew it is another one, were it the same: whoever sets it wants it tried.
        await self._reload(request.name)
        return router_pb2.SetUpstreamCredentialResponse(account=self._shown(request.name))

    async def ResealCredentials(
        self, request: router_pb2.ResealCredentialsRequest, context: Context
    ) -> router_pb2.ResealCredentialsResponse:
        response = router_pb2.ResealCredentialsResponse()
        for row in (await self._store.everything()).accounts:
            try:
                sealed = self._sealer.resealed(row.credential_sealed, row.upstream_account_id)
            except Unsealable:
                response.unsealable.append(row.name)
                continue
            if sealed and await self._store.reseal(row.upstream_account_id, row.credential_sealed, sealed):
                response.resealed += 1
        return response

    async def ListUpstreamAccounts(
        self, request: router_pb2.ListUpstreamAccountsRequest, context: Context
    ) -> router_pb2.ListUpstreamAccountsResponse:
        size = request.page_size
        if size > _PAGE_MOST:
            raise Refusal(Kind.INVALID_REQUEST, f"page_size may be at most {_PAGE_MOST}")
        ids_ = self._cooldowns.cooling() if request.cooling else None
        if request.upstream_account_id:
            ids_ = [request.upstream_account_id]
        wanted = AccountFilter(
            request.name,
            request.search[:_SEARCH_LENGTH],
            request.pool,
            request.disabled,
            ids_,
            request.page_token,
        )
        names, total = await self._store.names(wanted, size + 1 if size else _ALL)
        shown = names[:size] if size else names
        return router_pb2.ListUpstreamAccountsResponse(
            # One that was added this moment by another replica is not in the catalogue yet.
            accounts=[self._shown(name) for name in shown if self._catalog.named(name) is not None],
            next_page_token=shown[-1] if len(names) > len(shown) else "",
            total=total,
        )

    async def TestUpstreamAccount(
        self, request: router_pb2.TestUpstreamAccountRequest, context: Context
    ) -> router_pb2.TestUpstreamAccountResponse:
        account = self._catalog.named(request.name)
        if account is None:
            raise _unknown(request.name)
        model = request.model or min(account.models)
        if model not in account.models:
            raise Refusal(Kind.INVALID_REQUEST, f"model {model!r}: {request.name!r} does not serve it")
        if not account.credential:
            raise Refusal(Kind.INVALID_REQUEST, f"credential: that of {request.name!r} cannot be opened; replace it")
        found = await trial.run(account, model, private=self._reach.private)
        return router_pb2.TestUpstreamAccountResponse(
            ok=found.ok,
            http_status=found.http_status,
            duration_ms=found.duration_ms,
            model=model,
            message=found.message,
            upstream_request_id=found.upstream_request_id,
        )

    async def ClearUpstreamAccount(
        self, request: router_pb2.ClearUpstreamAccountRequest, context: Context
    ) -> router_pb2.ClearUpstreamAccountResponse:
        account = self._catalog.named(request.name)
        if account is None:
            raise _unknown(request.name)
        self._cooldowns.clear(account.upstream_account_id, request.family)
        return router_pb2.ClearUpstreamAccountResponse(account=self._shown(request.name))

    async def SetUpstreamAccountEnabled(
        self, request: router_pb2.SetUpstreamAccountEnabledRequest, context: Context
    ) -> router_pb2.SetUpstreamAccountEnabledResponse:
        await self._store.set_enabled(request.name, request.enabled)
        await self._reload(request.name)
        return router_pb2.SetUpstreamAccountEnabledResponse(account=self._shown(request.name))

    async def DeleteUpstreamAccount(
        self, request: router_pb2.DeleteUpstreamAccountRequest, context: Context
    ) -> router_pb2.DeleteUpstreamAccountResponse:
        await self._store.delete_account(request.name)
        await self._reload(request.name)
        return router_pb2.DeleteUpstreamAccountResponse()

    async def _reload(self, name: str) -> None:
        await self._catalog.load()
        await bus.announce(self._nc, bus.CATALOG_CHANGED, name.encode())

    def _sealed(self, row: AccountRow | None, account_id: str, credential: str) -> bytes | None:
        """The credential to store; None where none is given for an account that exists, or the one that it has."""
        if row is not None:
            if not credential:
                return None
            try:
                if self._sealer.open(row.credential_sealed, account_id) == credential:
                    return None
            except Unsealable:
                pass  # of another master key: replaced
        return self._sealer.seal(forms.credential(credential), account_id)

    def _uses(self, pool: str) -> str:
        """Why a pool cannot be deleted."""
        accounts = sum(account.pool == pool for account in self._catalog.accounts)
        if accounts:
            return f"the pool {pool!r} holds {accounts} upstream account{'s' if accounts > 1 else ''}"
        groups = ", ".join(repr(row.group) for row in self._catalog.groups if pool in row.pools)
        return f"the pool {pool!r} stands in the group {groups}"

    def _shown(self, name: str) -> router_pb2.UpstreamAccount:
        account = self._catalog.named(name)
        if account is None:
            raise _unknown(name)
        account_id = account.upstream_account_id
        shown = _account(account)
        shown.in_flight = self._leases.in_flight(account_id)
        shown.health.extend(self._cooldowns.shown(account_id, clock.now_ms()))
        return shown


def _unknown(name: str) -> Refusal:
    return Refusal(Kind.NOT_FOUND, f"there is no upstream account {name!r}")


def _account(account: Account) -> router_pb2.UpstreamAccount:
    limits = account.limits
    return router_pb2.UpstreamAccount(
        upstream_account_id=account.upstream_account_id,
        name=account.name,
        kind=KINDS[account.kind],
        base_url=account.base_url,
        models=account.models,
        priority=account.priority,
        enabled=account.enabled,
        created_ms=account.created_ms,
        pool=account.pool,
        weight=account.weight,
        headers=account.headers,
        proxy=account.proxy,
        limits=router_pb2.AccountLimits(
            concurrent=limits.concurrent,
            requests_per_minute=limits.requests,
            input_tokens_per_minute=limits.input_tokens,
            output_tokens_per_minute=limits.output_tokens,
        ),
        resale_allowed=account.resale_allowed,
        note=account.note,
    )


def _pool(pool: PoolSummary) -> router_pb2.Pool:
    return router_pb2.Pool(name=pool.name, models=pool.models, accounts=pool.accounts)


def _group(row: GroupRow) -> router_pb2.Group:
    return router_pb2.Group(name=row.group, pools=row.pools)


def _model(model: Model) -> router_pb2.Model:
    return router_pb2.Model(
        model=model.model,
        display_name=model.display_name,
        created_ms=model.created_ms,
        family=model.family,
        times=router_pb2.ModelTimes(
            attempts_budget_ms=model.attempts_budget_ms,
            first_byte_ms=model.first_byte_ms,
            idle_ms=model.idle_ms,
            total_ms=model.total_ms,
        ),
        kinds=sorted(KINDS[kind] for kind in model.kinds),
    )
