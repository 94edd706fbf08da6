"""Unit tests of services.console.safety and of the application around it, with everything that it asks away."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest
from psycopg_pool import AsyncConnectionPool

from services.console import safety
from services.console.app import application
from services.console.assets import Assets
from services.console.clients import Clients
from services.console.codes import Codes
from services.console.master_keys import MasterKeys
from services.console.payments.cashier import Cashier
from services.console.payments.store import PaymentStore
from services.console.settings import ConsoleSettings
from services.console.store import Store
from services.console.throttle import Throttle
from services.console.token_store import TokenStore
from services.shared.addresses import Address
from services.shared.settings import Secret

NOWHERE = Address("127.0.0.1:1")
SETTINGS = ConsoleSettings(
    database_url=Secret("postgresql://127.0.0.1:1/none"),
    ledger_token=Secret("thst_none"),
    master_key=Secret("A" * 43 + "="),
    auth_address=NOWHERE,
    router_address=NOWHERE,
    ledger_address=NOWHERE,
    call_timeout_s=0.5,
)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A browser of a console whose database and services are all away."""
    clients = Clients(SETTINGS)
    pool = AsyncConnectionPool(SETTINGS.database_url.reveal(), open=False)
    cashier = Cashier(PaymentStore(pool), clients, [], check_s=60)
    store = Store(pool, timedelta(hours=1), timedelta(days=1))
    keys = MasterKeys.of(SETTINGS)
    codes = Codes(store, Throttle(store, SETTINGS), keys)
    app = application(SETTINGS, store, TokenStore(pool), clients, cashier, keys, codes)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://console.test") as made:
        yield made
    await clients.close()


async def test_the_landing_page_is_there_though_everything_else_is_away(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert "Tollhouse" in page.text
    assert (await client.get("/brand.css")).status_code == 200


async def test_without_the_database_people_are_told_to_try_again(client: httpx2.AsyncClient) -> None:
    client.cookies.set("session", "A" * 43)
    page = await client.get("/dashboard")
    assert page.status_code == 503
    assert safety.AWAY in page.text
    assert "content-security-policy" in page.headers


async def test_files_are_served_without_looking_at_the_cookie(client: httpx2.AsyncClient) -> None:
    client.cookies.set("session", "A" * 43)
    for path in ("/brand.css", "/favicon.ico", Assets().url("console.css")):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers


async def test_webhooks_take_changes_without_a_token_and_get_no_cookie(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/webhooks/nobody", content=b"{}")
    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers
    assert (await client.post("/webhooksomething", content=b"{}")).status_code == 403


async def test_a_cookie_that_we_cannot_have_made_is_replaced(client: httpx2.AsyncClient) -> None:
    for cookie in ("session=short", "session=", 'session="a b', "other=1"):
        page = await client.get("/sign-in", headers={"cookie": cookie})
        assert page.status_code == 200
        assert page.headers["set-cookie"].startswith("session=")


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(client: httpx2.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    assert (await client.post("/sign-in", content=endless())).status_code == 413


@pytest.mark.parametrize("origin", ["http://[", "null", "", "http://console.test@evil.example", "x://console.test:1"])
async def test_an_origin_that_is_not_ours_is_refused_however_odd_it_is(client: httpx2.AsyncClient, origin: str) -> None:
    answer = await client.post("/sign-in", headers={"origin": origin})
    assert answer.status_code == 403
    assert "another site" in answer.text


async def test_a_nul_is_refused_wherever_it_stands(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/auth%00")).status_code == 400
    client.cookies.clear()
    assert (await client.get("/auth?action=%00")).status_code == 400
    client.cookies.clear()
    assert (await client.post("/sign-in", data={"email": "a\0b"})).status_code == 400
    client.cookies.clear()
    assert (await client.get("/auth?action=%2500")).status_code == 303


@pytest.mark.parametrize("host", ["[", "a b", "x; script-src *", "evil/..", "a@b", "x?", "a:b", "[::1", "x" * 300])
async def test_a_host_that_is_none_is_refused_before_a_page_says_it_again(
    client: httpx2.AsyncClient, host: str
) -> None:
    answer = await client.get("/sign-in", headers={"host": host})
    assert answer.status_code == 400
    assert f"//{host}" not in answer.text + answer.headers["content-security-policy"]


@pytest.mark.parametrize("host", ["console.example", "console.example:8090", "127.0.0.1:1", "[::1]:8090", "[::1]"])
async def test_a_host_that_is_one_is_good(client: httpx2.AsyncClient, host: str) -> None:
    assert (await client.get("/sign-in", headers={"host": host})).status_code == 200


async def test_a_form_of_very_many_fields_is_not_read(client: httpx2.AsyncClient) -> None:
    fields = "a=1&" * (safety.FIELDS_MOST + 1)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await client.post("/sign-in", content=fields, headers=headers)).status_code == 413


@pytest.mark.parametrize("prefix", safety.OPEN)
def test_open_paths_are_whole_folders(prefix: str) -> None:
    assert prefix.startswith("/")
    assert prefix.endswith("/")
