"""People of the console on the real services: how they register, sign in and out, and look after their sessions."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from services.console.administration import Administration, administration
from services.console.settings import ConsoleSettings
from services.console.store import Person
from services.console.throttle import Throttle, Throttled
from services.embedded.health import with_credentials
from services.migrate import role
from services.shared import ids
from services.shared.errors import Kind, Refusal
from services.shared.settings import Secret
from tests.books import superuser_url
from tests.deployment import Deployment, deployed
from tests.visitors import PASSWORD, Visitor, customer, operator, text_of
from tollhouse.v1 import auth_pb2, usage_pb2

NOWHERE = "127.0.0.1:1"


@dataclass(frozen=True)
class Account:
    """An address and a password that somebody registered with."""

    email: str
    visitor: Visitor


@pytest.fixture
def account(tollhouse: Deployment) -> Account:
    email = f"{ids.ulid()}@tests.example"
    visitor = Visitor.of(tollhouse)
    assert visitor.register(email).status_code == 303
    return Account(email, visitor)


def person(tollhouse: Deployment, email: str) -> Person:
    async def look() -> Person:
        async with people(tollhouse) as console:
            known = await console.store.person_by_email(email)
            assert known is not None
            return known

    return asyncio.run(look())


@contextlib.asynccontextmanager
async def people(tollhouse: Deployment, auth: str = "") -> AsyncIterator[Administration]:
    """What `tollhouse person` works with; `auth` is another address of auth."""
    password = json.loads((tollhouse.state_dir / "secrets.json").read_text())["console"]
    addresses = json.loads((tollhouse.state_dir / "run.json").read_text())["addresses"]
    url = with_credentials(addresses["postgres"], role("console"), password)
    async with administration(Secret(url), auth or addresses["auth"]) as console:
        yield console


def execute(tollhouse: Deployment, query: str, *parameters: str) -> None:
    with psycopg.connect(superuser_url(tollhouse), autocommit=True) as connection:
        connection.execute(query.encode(), parameters)


# ---- registering ----


def test_who_registers_is_signed_in_and_welcomed_once(tollhouse: Deployment) -> None:
    visitor = Visitor.of(tollhouse)
    answer = visitor.register(f"{ids.ulid()}@tests.example")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert "Welcome" in text_of(visitor.get("/dashboard"))
    assert "Welcome" not in text_of(visitor.get("/dashboard"))


def test_a_customer_gets_a_tenant_of_their_own_that_auth_and_the_ledger_know(
    tollhouse: Deployment, account: Account
) -> None:
    tenant_id = person(tollhouse, account.email).tenant_id
    tenant = tollhouse.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=tenant_id)).tenant
    assert (tenant.name, tenant.enabled) == (account.email, True)
    tollhouse.top_up(tenant_id, 12.5)
    assert "$12.50" in text_of(account.visitor.get("/dashboard"))


def test_a_tenant_that_auth_could_not_be_asked_for_is_made_at_the_next_sign_in(tollhouse: Deployment) -> None:
    email = f"{ids.ulid()}@tests.example"

    async def register_without_auth() -> None:
        async with people(tollhouse, NOWHERE) as console:
            await console.people.register(email, PASSWORD, "10.255.0.1")

    with pytest.raises(Refusal) as refused:
        asyncio.run(register_without_auth())
    assert refused.value.kind is Kind.AUTH_UNAVAILABLE
    wanted = person(tollhouse, email)
    tenants = tollhouse.auth.ListTenants(auth_pb2.ListTenantsRequest()).tenants
    assert not wanted.tenant_made
    assert wanted.tenant_id not in {tenant.tenant_id for tenant in tenants}

    visitor = Visitor.of(tollhouse)
    assert visitor.sign_in(email).status_code == 303
    assert tollhouse.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=wanted.tenant_id)).tenant.enabled
    assert visitor.is_signed_in


def test_an_address_is_registered_once_however_it_is_written(tollhouse: Deployment, account: Account) -> None:
    again = Visitor.of(tollhouse).register(f"  {account.email.upper()} ")
    assert again.status_code == 409
    assert "There is an account of this address" in text_of(again)


@pytest.mark.parametrize(
    ("email", "password", "said"),
    [
        ("nobody", PASSWORD, "not an e-mail address"),
        ("a@b c.example", PASSWORD, "not an e-mail address"),
        ("a@tests.example", "too short", "at least 12 characters"),
        ("a@tests.example", "x" * 201, "at most 200 characters"),
        ("a@tests.example", "aaaaaaaaaaaaaa", "too easy to guess"),
        ("long.enough@tests.example", "Long.Enough@tests.example", "too easy to guess"),
    ],
)
def test_what_is_wrong_with_a_registration_is_said_beside_its_field(
    tollhouse: Deployment, email: str, password: str, said: str
) -> None:
    visitor = Visitor.of(tollhouse)
    answer = visitor.register(email, password)
    assert answer.status_code == 422
    assert said in text_of(answer)
    assert 'aria-invalid="true"' in answer.text
    assert password not in answer.text or password == email
    assert not visitor.is_signed_in


def test_links_of_elsewhere_to_registering_lead_to_it(tollhouse: Deployment) -> None:
    visitor = Visitor.of(tollhouse)
    assert visitor.get("/auth?action=register").headers["location"] == "/register"
    assert visitor.get("/auth").headers["location"] == "/sign-in"


# ---- signing in and out ----


def test_who_signs_in_comes_to_the_page_that_they_asked_for(tollhouse: Deployment, account: Account) -> None:
    visitor = Visitor.of(tollhouse)
    sent_away = visitor.get("/settings?tab=1")
    assert sent_away.status_code == 303
    page = sent_away.headers["location"]
    assert page.startswith("/sign-in?next=")
    onward = re.search(r'name="next" value="([^"]+)"', visitor.get(page).text)
    assert onward is not None
    assert visitor.sign_in(account.email, onward=onward[1]).headers["location"] == "/settings?tab=1"
    assert account.email in text_of(visitor.get("/settings"))


def test_after_signing_out_the_cookie_of_before_is_worth_nothing(tollhouse: Deployment, account: Account) -> None:
    visitor = account.visitor
    secret = visitor.secret
    assert visitor.sign_out().headers["location"] == "/sign-in"
    assert "You are signed out" in text_of(visitor.get("/sign-in"))
    assert not visitor.is_signed_in
    thief = Visitor.of(tollhouse, cookie=f"session={secret}")
    assert not thief.is_signed_in


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(tollhouse: Deployment, account: Account) -> None:
    wrong = Visitor.of(tollhouse).sign_in(account.email, "not the password at all")
    unknown = Visitor.of(tollhouse).sign_in(f"{ids.ulid()}@tests.example", "not the password at all")
    malformed = Visitor.of(tollhouse).sign_in("no address", "not the password at all")
    assert wrong.status_code == unknown.status_code == malformed.status_code == 401
    assert text_of(wrong) == text_of(unknown) == text_of(malformed)
    assert "The address or the password is wrong" in text_of(wrong)


def test_a_person_who_was_shut_out_is_out_at_once_and_cannot_come_back(tollhouse: Deployment, account: Account) -> None:
    async def shut_out() -> None:
        async with people(tollhouse) as console:
            known = await console.store.person_by_email(account.email)
            assert known is not None
            await console.store.set_enabled(known.person_id, False)

    asyncio.run(shut_out())
    assert not account.visitor.is_signed_in
    assert Visitor.of(tollhouse).sign_in(account.email).status_code == 401


# ---- attempts ----


def test_failed_attempts_shut_an_account_for_everybody_even_with_the_right_password(
    tollhouse: Deployment, account: Account
) -> None:
    answers = [Visitor.of(tollhouse).sign_in(account.email, f"guess number {n}").status_code for n in range(10)]
    assert answers == [401] * 10
    shut = Visitor.of(tollhouse).sign_in(account.email)
    assert shut.status_code == 429
    assert int(shut.headers["retry-after"]) > 0
    assert "Too many attempts" in text_of(shut)
    assert account.visitor.is_signed_in, "whoever is in stays in"


def test_a_good_password_forgives_the_attempts_before_it(tollhouse: Deployment, account: Account) -> None:
    for _ in range(2):
        guesses = [Visitor.of(tollhouse).sign_in(account.email, "a wrong password") for _ in range(8)]
        assert {guess.status_code for guess in guesses} == {401}
        assert Visitor.of(tollhouse).sign_in(account.email).status_code == 303


async def test_attempts_from_one_address_are_counted_over_all_accounts(tollhouse: Deployment) -> None:
    settings = ConsoleSettings(
        database_url=Secret(""), ledger_token=Secret(""), master_key=Secret(""), sign_ins_per_address=3
    )
    here, there = f"here {ids.ulid()}", f"there {ids.ulid()}"
    async with people(tollhouse) as console:
        throttle = Throttle(console.store, settings)
        for _ in range(3):
            await throttle.sign_in(f"{ids.ulid()}@tests.example", here)
        with pytest.raises(Throttled) as throttled:
            await throttle.sign_in(f"{ids.ulid()}@tests.example", here)
        assert 0 < throttled.value.wait_s <= 300
        await throttle.sign_in(f"{ids.ulid()}@tests.example", there)


async def test_replicas_count_attempts_together(tollhouse: Deployment) -> None:
    bucket = f"test {ids.ulid()}"
    async with people(tollhouse) as one, people(tollhouse) as other:
        waits = await asyncio.gather(*(console.store.take(bucket, 5, 900) for console in [one, other] * 5))
        assert sorted(wait == 0 for wait in waits) == [False] * 5 + [True] * 5
        assert all(0 < wait <= 180 for wait in waits if wait)


async def test_a_bucket_fills_again_evenly(tollhouse: Deployment) -> None:
    bucket = f"test {ids.ulid()}"
    async with people(tollhouse) as console:
        assert [await console.store.take(bucket, 3, 900) == 0 for _ in range(4)] == [True, True, True, False]
        query = "UPDATE console.throttles SET empty_at = empty_at - interval '5 minutes' WHERE bucket = %s"
        await asyncio.to_thread(execute, tollhouse, query, bucket)
        assert [await console.store.take(bucket, 3, 900) == 0 for _ in range(2)] == [True, False]


# ---- sessions and password ----


def test_sessions_are_listed_with_browser_and_address_and_can_be_ended(tollhouse: Deployment, account: Account) -> None:
    phone = Visitor.of(tollhouse, **{"user-agent": "Mozilla/5.0 (iPhone; CPU) Version/19.1 Safari/605.1"})
    assert phone.sign_in(account.email).status_code == 303
    page = account.visitor.get("/settings")
    listed = text_of(page)
    assert "Safari 19 on iPhone" in listed
    assert phone.address in listed
    assert page.text.count('<span class="badge good">this one</span>') == 1
    ends = re.findall(r'action="(/settings/sessions/session_\w+/end)"', account.visitor.get("/settings").text)
    assert len(ends) == 1, "the session that one is in is ended by signing out"
    assert account.visitor.send("/settings", ends[0]).status_code == 303
    assert not phone.is_signed_in
    assert account.visitor.is_signed_in


def test_nobody_ends_another_persons_session(tollhouse: Deployment, account: Account) -> None:
    victim, other = account, customer(tollhouse)
    second = Visitor.of(tollhouse)
    assert second.sign_in(victim.email).status_code == 303
    action = re.search(r'action="(/settings/sessions/session_\w+/end)"', second.get("/settings").text)
    assert action is not None
    assert other.send("/settings", action[1]).status_code == 404
    assert victim.visitor.is_signed_in


def test_all_other_sessions_are_ended_together(tollhouse: Deployment, account: Account) -> None:
    others = [Visitor.of(tollhouse) for _ in range(3)]
    assert {other.sign_in(account.email).status_code for other in others} == {303}
    assert account.visitor.send("/settings", "/settings/sessions/end-others").status_code == 303
    assert not any(other.is_signed_in for other in others)
    assert account.visitor.is_signed_in


@pytest.mark.parametrize(("column", "age"), [("seen_at", "13 hours"), ("created_at", "31 days")])
def test_a_session_ends_by_itself_when_it_is_idle_or_old(
    tollhouse: Deployment, account: Account, column: str, age: str
) -> None:
    query = (
        f"UPDATE console.sessions SET {column} = now() - interval '{age}' WHERE person_id ="
        " (SELECT person_id FROM console.people WHERE email = %s)"
    )
    assert account.visitor.is_signed_in
    execute(tollhouse, query, account.email)
    assert not account.visitor.is_signed_in


def test_a_changed_password_ends_the_other_sessions_and_the_old_one_is_good_no_more(
    tollhouse: Deployment, account: Account
) -> None:
    elsewhere, new = Visitor.of(tollhouse), "quite another sentence"
    assert elsewhere.sign_in(account.email).status_code == 303
    changed = account.visitor.send("/settings", "/settings/password", old_password=PASSWORD, new_password=new)
    assert changed.status_code == 303
    assert "Your password is changed" in text_of(account.visitor.get("/settings"))
    assert not elsewhere.is_signed_in
    assert elsewhere.sign_in(account.email, PASSWORD).status_code == 401
    assert elsewhere.sign_in(account.email, new).status_code == 303


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("not the old one", "quite another sentence", "That is not your password"), (PASSWORD, "short", "at least 12")],
)
def test_a_password_is_not_changed_without_the_old_one_or_to_a_weak_one(
    tollhouse: Deployment, account: Account, old: str, new: str, said: str
) -> None:
    answer = account.visitor.send("/settings", "/settings/password", old_password=old, new_password=new)
    assert answer.status_code == 422
    assert said in text_of(answer)
    assert Visitor.of(tollhouse).sign_in(account.email).status_code == 303


# ---- what is in the database ----


def test_neither_passwords_nor_the_secrets_of_sessions_are_stored(tollhouse: Deployment, account: Account) -> None:
    with psycopg.connect(superuser_url(tollhouse)) as connection:
        rows = [
            *connection.execute("SELECT * FROM console.people"),
            *connection.execute("SELECT * FROM console.sessions"),
        ]
    kept = str(rows)
    assert account.email in kept
    assert "$argon2id$" in kept
    assert PASSWORD not in kept
    assert account.visitor.secret not in kept


# ---- operators ----


def test_operators_see_the_gateway_and_customers_do_not(tollhouse: Deployment, account: Account) -> None:
    seen = text_of(operator(tollhouse).get("/operator"))
    assert "Tenants" in seen
    assert "Upstream accounts" in seen
    refused = account.visitor.get("/operator")
    assert refused.status_code == 403
    assert "This page is for operators" in text_of(refused)
    for page in (refused, account.visitor.get("/dashboard")):
        assert 'href="/operator' not in page.text
        assert 'href="/settings"' in page.text


def test_up_keeps_its_operator_and_says_when_the_password_was_changed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with deployed(state) as first:
        email, password = first.operator
    with deployed(state) as second:
        assert second.operator == (email, password)
        visitor = operator(second)
        changed = visitor.send("/settings", "/settings/password", old_password=password, new_password=PASSWORD)
        assert changed.status_code == 303
    with deployed(state) as third:
        assert third.operator == (email, "")
        assert Visitor.of(third).sign_in(email).status_code == 303


def test_the_overview_shows_what_was_used(tollhouse: Deployment, account: Account) -> None:
    tenant_id = person(tollhouse, account.email).tenant_id
    assert "No requests yet" in text_of(account.visitor.get("/dashboard"))
    tollhouse.top_up(tenant_id, 1)
    key = tollhouse.auth.CreateKey(auth_pb2.CreateKeyRequest(tenant_id=tenant_id, name="test")).secret
    ids_ = [tollhouse.messages(key).headers["x-request-id"] for _ in range(3)]
    for request_id in ids_:
        assert tollhouse.usage_of(key, request_id).status == 200
    usage = tollhouse.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant_id))
    shown = account.visitor.get("/dashboard")
    page = shown.text
    assert "Requests today 3" in text_of(shown)
    assert f"${usage.balance_nano / 1e9:.9f}".rstrip("0") in page, "the exact balance is there to be looked at"
