"""The router's catalogue on a real database: what it makes of many upstream accounts, and how little it makes anew."""

import base64
import time
from collections.abc import AsyncIterator, Collection
from urllib.parse import quote

import psycopg
import pytest

from services.migrate import migrate
from services.router import forms
from services.router.catalog import Catalog
from services.router.credentials import Sealer, Unsealable
from services.router.store import Overtaken, Store
from services.shared import database, ids
from services.shared.settings import Secret
from tests.books import database_named, superuser_url
from tests.deployment import Deployment
from tollhouse.v1 import router_pb2

SEALER = Sealer(base64.b64encode(bytes(32)).decode())
ACCOUNT = """
    INSERT INTO upstream_accounts (upstream_account_id, name, kind, base_url, credential_sealed, priority, pool)
    VALUES (%s, %s, 'anthropic', 'http://127.0.0.1:9', %s, 10, %s)
"""
MODELS = """
    INSERT INTO upstream_models (upstream_account_id, model, upstream_model)
    SELECT upstream_account_id, m, m FROM upstream_accounts, unnest(ARRAY['opus', 'haiku']) AS m
"""


class CountingSealer(Sealer):
    """Counts the credentials that it opened."""

    def __init__(self) -> None:
        super().__init__(base64.b64encode(bytes(32)).decode())
        self.opened = 0

    def open(self, sealed: bytes, account_id: str) -> str:
        self.opened += 1
        return super().open(sealed, account_id)


class Books:
    """A database of the router, and SQL beside the store."""

    def __init__(self, url: str, store: Store) -> None:
        self.url = url
        self.store = store

    def fill(self, count: int, pool: str = "default") -> list[str]:
        """Stores accounts of two models each; answers their ids."""
        made = [f"acc_{pool}_{number}" for number in range(count)]
        with psycopg.connect(self.url, options="-c search_path=router") as connection:
            cursor = connection.cursor()
            cursor.executemany(ACCOUNT, [(i, i, SEALER.seal(f"credential of {i}", i), pool) for i in made])
            cursor.execute(MODELS + " ON CONFLICT DO NOTHING")
        return made


@pytest.fixture
async def books(tollhouse: Deployment) -> AsyncIterator[Books]:
    with database_named(superuser_url(tollhouse), f"catalog_{ids.ulid()}") as url:
        migrate(url, {})
        options = quote("-c search_path=router -c role=tollhouse_router")
        pool = await database.connect(Secret(f"{url}?options={options}"), service="test", size=2)
        try:
            yield Books(url, Store(pool))
        finally:
            await pool.close()


async def test_only_what_changed_is_made_anew(books: Books) -> None:
    sealer, told = CountingSealer(), list[Collection[str]]()
    catalog = Catalog(books.store, sealer, loaded=lambda ids: told.append(set(ids)))
    await books.store.put_pool("other")
    names = books.fill(3) + books.fill(2, "other")
    await catalog.load()
    assert sealer.opened == 5
    assert told == [set(names)]
    first, pool, other = catalog.named(names[0]), catalog.pool("default"), catalog.pool("other")
    await catalog.load()
    assert catalog.named(names[0]) is first
    assert (catalog.pool("default"), catalog.pool("other")) == (pool, other)
    await books.store.set_enabled(names[1], False)
    await books.store.set_credential(names[2], SEALER.seal("another", names[2]))
    await catalog.load()
    assert sealer.opened == 6
    assert catalog.named(names[0]) is first
    assert catalog.pool("default") is not pool
    assert catalog.pool("other") is other
    changed = catalog.named(names[2])
    assert changed is not None
    assert changed.credential == "another"
    serving = catalog.pool("default")
    assert serving is not None
    assert {account.name for account in serving.serving("opus") or ()} == {names[0], names[2]}
    assert serving.serving("nothing") is None
    assert catalog.pool("") is serving
    assert catalog.pool("nowhere") is None


async def test_an_account_that_is_stored_without_a_credential_keeps_the_one_set_last(books: Books) -> None:
    (name,) = books.fill(1)
    change = forms.account(
        router_pb2.UpstreamAccount(
            name=name, kind=router_pb2.UPSTREAM_KIND_ANTHROPIC, base_url="http://127.0.0.1:9", models={"opus": "opus"}
        )
    )
    latest = SEALER.seal("latest", name)
    await books.store.set_credential(name, latest)
    await books.store.put_account(name, change, None)
    row = await books.store.account(name)
    assert row is not None
    assert (row.credential_sealed, row.models) == (latest, {"opus": "opus"})
    with pytest.raises(Overtaken):
        await books.store.put_account("acc_of_another_router", change, latest)
    await books.store.delete_account(name)
    with pytest.raises(Overtaken):
        await books.store.put_account(name, change, None)
    assert await books.store.account(name) is None


async def test_an_account_whose_credential_cannot_be_opened_is_not_picked(books: Books) -> None:
    (name,) = books.fill(1)
    catalog = Catalog(books.store, SEALER)
    await books.store.set_credential(name, SEALER.seal("of another account", "acc_other"))
    with pytest.raises(Unsealable):
        SEALER.open((await books.store.everything()).accounts[0].credential_sealed, name)
    await catalog.load()
    assert catalog.models() == []
    account = catalog.named(name)
    assert account is not None
    assert not account.enabled


async def test_ten_thousand_accounts_are_looked_at_again_quickly(books: Books) -> None:
    books.fill(10_000)
    catalog = Catalog(books.store, SEALER)
    await catalog.load()
    assert len(catalog.accounts) == 10_000
    pool = catalog.pool("default")
    began_s = time.process_time()
    await catalog.load()
    assert time.process_time() - began_s < 2
    assert catalog.pool("default") is pool
