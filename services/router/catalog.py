"""The catalogue: upstream accounts, pools, groups and models, in memory, loaded from the store."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg_pool import PoolTimeout

from services.router.accounts import Account, Limits
from services.router.affinity import PoolAccounts
from services.router.credentials import Sealer, Unsealable
from services.router.families import family_of
from services.router.rows import AccountRow, GroupRow, ModelRow, Stored
from services.router.store import Store
from services.shared.telemetry import logger

_log = logger("catalog")

_RELOAD_S: Final = 30.0
_GATHER_S: Final = 0.1
"""Changes that are announced within this time are read at once."""
_ACCOUNTS_AT_A_TIME: Final = 500


@dataclass(frozen=True, slots=True)
class Model:
    """A model that some enabled upstream account serves; times in milliseconds, 0: as the edge is set."""

    model: str
    display_name: str
    family: str
    created_ms: int
    attempts_budget_ms: int = 0
    first_byte_ms: int = 0
    idle_ms: int = 0
    total_ms: int = 0
    kinds: frozenset[str] = frozenset()
    """Of the enabled upstream accounts that serve it."""

    @classmethod
    def of(cls, row: ModelRow, created_ms: int = 0, kinds: frozenset[str] = frozenset()) -> "Model":
        """A model that an operator said something of; 0 and no kinds when no upstream account serves it."""
        times = (row.attempts_budget_ms, row.first_byte_ms, row.idle_ms, row.total_ms)
        return cls(row.model, row.display_name, row.family, created_ms, *times, kinds)


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """What stands in a pool: how many upstream accounts, and the models that its enabled ones serve, sorted."""

    name: str
    models: list[str]
    accounts: int


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A row as it was read, and the account that was made of it."""

    row: AccountRow
    account: Account


class Catalog:
    """Every upstream account, and what is known of pools, groups and models.

    Args:
        store: where it is loaded from.
        sealer: opens credentials.
        loaded: told the ids of all upstream accounts after each load.
        credential_changed: told the id of an upstream account that has another credential from now on.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        loaded: Callable[[Collection[str]], None] | None = None,
        credential_changed: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._told = loaded
        self._credential_changed = credential_changed
        self._changed = asyncio.Event()
        self._loading = asyncio.Lock()
        self._asked = 0
        self._answered = 0
        self._rows: dict[str, _Loaded] = {}  # by account id
        self._names: dict[str, Account] = {}
        self._pools: dict[str, PoolAccounts] = {}
        self._in_pool: dict[str, list[Account]] = {}
        self._families: dict[str, str] = {}
        self._models: dict[str, Model] = {}
        self.accounts: list[Account] = []
        """By priority and name."""
        self.groups: list[GroupRow] = []
        """By name."""

    # ---- for decisions ----

    def pool(self, name: str) -> PoolAccounts | None:
        """The upstream accounts of a pool, the default one without a name; None when there is no such pool."""
        return self._pools.get(name or "default")

    def family(self, model: str) -> str:
        """The family that the health of a model's upstream accounts is kept for."""
        return self._families.get(model) or family_of(model)

    # ---- for operators and edges ----

    def named(self, name: str) -> Account | None:
        """The upstream account of this name."""
        return self._names.get(name)

    def models(self) -> list[Model]:
        """The models that some enabled upstream account serves, by id."""
        return [self._models[model] for model in sorted(self._models)]

    def pools(self) -> list[PoolSummary]:
        """Every pool, by name."""
        return [_summary(name, self._in_pool[name]) for name in sorted(self._pools)]

    # ---- loading ----

    def changed(self) -> None:
        """Another replica changed something: look soon."""
        self._changed.set()

    async def load(self) -> None:
        """Reads the store anew; what was stored before the call is known after it. Calls at the same time share one
        look where they can. Raises psycopg.Error, PoolTimeout."""
        self._asked += 1
        mine = self._asked
        async with self._loading:
            if self._answered >= mine:
                return  # a look that began after this call ended while it waited
            answers = self._asked
            stored = await self._store.everything()
            await self._adopt(stored)
            self._answered = answers

    async def keep(self) -> None:
        """Reads the store anew whenever something changed, and now and then; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_RELOAD_S):
                    await self._changed.wait()
                    await asyncio.sleep(_GATHER_S)
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.load()
            except (psycopg.Error, PoolTimeout) as error:
                _log.warning("catalog_not_reloaded", error=repr(error))

    async def _adopt(self, stored: Stored) -> None:
        rows: dict[str, _Loaded] = {}
        for at, row in enumerate(stored.accounts):
            if at % _ACCOUNTS_AT_A_TIME == 0:
                await asyncio.sleep(0)  # picks are not to wait for thousands of accounts
            rows[row.upstream_account_id] = self._made(row)
        accounts = [loaded.account for loaded in rows.values()]
        in_pool: dict[str, list[Account]] = {name: [] for name in stored.pools}
        for account in accounts:
            in_pool[account.pool].append(account)
        pools = {}
        for name, members in in_pool.items():
            before = self._pools.get(name)
            if before is None or not _same(self._in_pool[name], members):
                await asyncio.sleep(0)
                before = PoolAccounts(name, members)
            pools[name] = before
        said = {row.model: row for row in stored.models}
        changed = [id_ for id_, loaded in rows.items() if _has_another_credential(self._rows.get(id_), loaded)]
        self._rows, self.accounts, self._pools, self._in_pool = rows, accounts, pools, in_pool
        self._names = {account.name: account for account in accounts}
        self._families = _families(accounts, said)
        self._models = _served(accounts, said, self._families)
        self.groups = stored.groups
        if self._told is not None:
            self._told(rows.keys())
        if self._credential_changed is not None:
            for account_id in changed:  # not before picks use it: the one of before would be refused once more
                self._credential_changed(account_id)

    def _made(self, row: AccountRow) -> _Loaded:
        """The account of a row; that of before where nothing changed, so that few credentials are opened anew."""
        before = self._rows.get(row.upstream_account_id)
        if before is not None and before.row == row:
            return before
        if before is not None and before.row.credential_sealed == row.credential_sealed:
            credential = before.account.credential
        else:
            try:
                credential = self._sealer.open(row.credential_sealed, row.upstream_account_id)
            except Unsealable as error:
                _log.error("credential_unsealable", account=row.name, reason=str(error))
                credential = ""
        return _Loaded(row, _account(row, credential))


def _account(row: AccountRow, credential: str) -> Account:
    """An account without a credential cannot be picked, whatever was set."""
    return Account(
        upstream_account_id=row.upstream_account_id,
        name=row.name,
        kind=row.kind,
        base_url=row.base_url,
        credential=credential,
        models=row.models,
        priority=row.priority,
        enabled=row.enabled and credential != "",
        created_ms=int(row.created_at.timestamp() * 1000),
        pool=row.pool,
        weight=row.weight,
        headers=row.headers,
        proxy=row.proxy,
        limits=Limits(row.concurrent_limit, row.requests_limit, row.input_tokens_limit, row.output_tokens_limit),
        resale_allowed=row.resale_allowed,
        note=row.note,
    )


def _same(some: list[Account], others: list[Account]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def _summary(name: str, accounts: list[Account]) -> PoolSummary:
    models = {model for account in accounts if account.enabled for model in account.models}
    return PoolSummary(name, sorted(models), len(accounts))


def _families(accounts: list[Account], said: Mapping[str, ModelRow]) -> dict[str, str]:
    models = {model for account in accounts for model in account.models}
    families = {model: family_of(model) for model in models}
    return families | {model: row.family for model, row in said.items()}


def _served(accounts: list[Account], said: Mapping[str, ModelRow], families: Mapping[str, str]) -> dict[str, Model]:
    """The models that enabled accounts serve, each since the first of them was made."""
    since: dict[str, int] = {}
    spoken: dict[str, set[str]] = {}
    for account in accounts:
        if account.enabled:
            for model in account.models:
                since[model] = min(since.get(model, account.created_ms), account.created_ms)
                spoken.setdefault(model, set()).add(account.kind)
    return {
        model: Model.of(said[model], created_ms, frozenset(spoken[model]))
        if model in said
        else Model(model, model, families[model], created_ms, kinds=frozenset(spoken[model]))
        for model, created_ms in since.items()
    }


def _has_another_credential(before: _Loaded | None, now: _Loaded) -> bool:
    return before is not None and before.row.credential_sealed != now.row.credential_sealed
