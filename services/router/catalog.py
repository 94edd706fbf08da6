"""The model catalogue: in memory, loaded from the store, indexed by public model id."""

import asyncio
from datetime import datetime

import psycopg
from psycopg_pool import PoolTimeout

from services.router.credentials import Sealer, Unsealable
from services.router.picker import Account
from services.router.store import Store
from services.shared.telemetry import logger

_log = logger("catalog")

_RELOAD_S = 30.0


class Catalog:
    """Every upstream account and which of them serve a model."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._changed = asyncio.Event()
        self._loading = asyncio.Lock()
        self.accounts: list[Account] = []
        self._by_model: dict[str, list[Account]] = {}

    def serving(self, model: str) -> list[Account] | None:
        """Enabled accounts that serve a model, by priority; None when no account ever names it."""
        return self._by_model.get(model)

    def models(self) -> list[tuple[str, int]]:
        """Models that can be called now and since when they are in the catalogue, by id."""
        return sorted((model, min(a.created_ms for a in served)) for model, served in self._by_model.items() if served)

    def changed(self) -> None:
        """Another replica changed an account: look soon."""
        self._changed.set()

    async def load(self) -> None:
        """Reads the store anew."""
        async with self._loading:
            accounts = []
            for row in await self._store.accounts():
                enabled = row.enabled
                try:
                    credential = self._sealer.open(bytes(row.credential_sealed), row.upstream_account_id)
                except Unsealable as error:
                    _log.error("credential_unsealable", account=row.name, reason=str(error))
                    credential, enabled = "", False
                accounts.append(
                    Account(
                        row.upstream_account_id,
                        row.name,
                        row.kind,
                        row.base_url,
                        credential,
                        row.models,
                        row.priority,
                        enabled,
                        _ms(row.created_at),
                    )
                )
            by_model: dict[str, list[Account]] = {}
            for account in accounts:  # by priority, as the store answers them
                for model in account.models:
                    served = by_model.setdefault(model, [])
                    if account.enabled:
                        served.append(account)
            self.accounts, self._by_model = accounts, {model: _real(served) for model, served in by_model.items()}

    async def keep(self) -> None:
        """Reads the store anew whenever something changed, and now and then; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_RELOAD_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.load()
            except (psycopg.Error, PoolTimeout) as error:
                _log.warning("catalog_not_reloaded", error=repr(error))


def _real(accounts: list[Account]) -> list[Account]:
    """The simulator's answers are made up: where a provider serves a model, the simulator does not stand in for it."""
    return [account for account in accounts if account.kind != "simulator"] or accounts


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
