"""Every route of the pages towards those whose it is not, as the table of routes has them: a route that is added is
tried without being named, and one that names something new has to say here what that is."""

import re
from collections.abc import Iterator, Mapping

import httpx2
import psycopg
import pytest
from starlette.routing import Route

from services.console.api import OPERATIONS
from services.console.pages import ROUTES
from services.shared import ids
from tests.api_callers import token_of
from tests.books import superuser_url
from tests.deployment import Deployment
from tests.visitors import Visitor, customer, operator, text_of
from tollhouse.v1 import auth_pb2

PIECE = re.compile(r"{(\w+)(?::\w+)?}")
PAGES = [route for route in ROUTES if isinstance(route, Route)]
OF_CUSTOMERS = [route for route in PAGES if PIECE.search(route.path) and not route.path.startswith("/operator")]
OF_OPERATORS = [route for route in PAGES if route.path.startswith("/operator")]
FREE = ("/static/{name:path}",)
ODD = ("%00", "%ff", "..%2f..%2fx", "9" * 30)
"""What no id is: a NUL, half a character, a way out, a number that fits nowhere."""


def method_of(route: Route) -> str:
    return next(iter((route.methods or set()) - {"HEAD"}))


def named(route: Route) -> str:
    return f"{method_of(route)} {route.path}"


def ask(visitor: Visitor, token: str, route: Route, names: Mapping[str, str]) -> httpx2.Response:
    """A route as a browser asks for it, with the token of its session."""
    path = PIECE.sub(lambda piece: names[piece[1]], route.path)
    if method_of(route) == "GET":
        return visitor.get(path)
    return visitor.client.post(path, headers={"x-csrf-token": token}, data={"name": "taken over", "code": "x"})


@pytest.fixture(scope="module")
def attacker(tollhouse: Deployment) -> Visitor:
    return customer(tollhouse)


@pytest.fixture(scope="module")
def boss(tollhouse: Deployment) -> Visitor:
    return operator(tollhouse)


@pytest.fixture(scope="module")
def of_the_victim(tollhouse: Deployment) -> Mapping[str, str]:
    """Something real of another customer for every name that a customer's path can hold."""
    victim, email = Visitor.of(tollhouse), f"{ids.ulid()}@tests.example"
    assert victim.register(email).status_code == 303
    token_of(victim, "keys:read")
    owned = {}
    with psycopg.connect(superuser_url(tollhouse), autocommit=True) as connection:
        row = connection.execute(
            "SELECT p.person_id, p.tenant_id, s.session_id, t.token_id FROM console.people p"
            " JOIN console.sessions s USING (person_id) JOIN console.access_tokens t USING (person_id)"
            " WHERE p.email = %s",
            (email,),
        ).fetchone()
        assert row is not None
        person_id, tenant_id, owned["session_id"], owned["token_id"] = row
        owned["payment_id"] = ids.ulid()
        connection.execute(
            "INSERT INTO console.payments (payment_id, tenant_id, person_id, provider, amount_nano)"
            " VALUES (%s, %s, %s, 'stripe', 5000000000)",
            (owned["payment_id"], tenant_id, person_id),
        )
    made = tollhouse.auth.CreateKey(auth_pb2.CreateKeyRequest(tenant_id=tenant_id, name="the victim's"))
    tollhouse.top_up(tenant_id, 1)
    answer = tollhouse.messages(made.secret)
    assert answer.status == 200
    owned |= {"key_id": made.key.key_id, "request_id": answer.headers["x-request-id"]}
    for path in (f"/dashboard/keys/{owned['key_id']}", f"/dashboard/usage/{owned['request_id']}"):
        assert victim.get(path).status_code == 200, "what is tried below exists"
    return owned


@pytest.fixture(autouse=True)
def untouched(tollhouse: Deployment, of_the_victim: Mapping[str, str]) -> Iterator[None]:
    """What the victim has is the same after every try."""

    def state() -> list[object]:
        wanted = {
            "sessions": "session_id, awaits_code",
            "access_tokens": "token_id, revoked_at",
            "payments": "payment_id, state, version",
        }
        with psycopg.connect(superuser_url(tollhouse)) as connection:
            kept = [
                connection.execute(
                    f"SELECT {columns} FROM console.{table} WHERE {columns.partition(',')[0]} = %s".encode(),
                    (of_the_victim[columns.partition(",")[0]],),
                ).fetchall()
                for table, columns in wanted.items()
            ]
        key = tollhouse.auth.GetKey(auth_pb2.GetKeyRequest(key_id=of_the_victim["key_id"])).key
        return [*kept, key.SerializeToString(deterministic=True)]

    before = state()
    assert all(before)
    yield
    assert state() == before


@pytest.mark.parametrize("route", [route for route in OF_CUSTOMERS if route.path not in FREE], ids=named)
def test_what_is_somebody_elses_is_as_if_it_were_not_there(
    attacker: Visitor, of_the_victim: Mapping[str, str], route: Route
) -> None:
    token = attacker.token("/settings")
    foreign = ask(attacker, token, route, of_the_victim)
    missing = ask(
        attacker,
        token,
        route,
        {name: f"{said[:-1]}{'0' if said[-1] != '0' else '1'}" for name, said in of_the_victim.items()},
    )
    assert foreign.status_code == missing.status_code == 404
    assert text_of(foreign) == text_of(missing)


def test_keys_that_a_form_names_are_deleted_only_where_they_are_ones_own(
    attacker: Visitor, of_the_victim: Mapping[str, str]
) -> None:
    sent = attacker.send("/settings", "/dashboard/keys/delete", key=of_the_victim["key_id"])
    assert sent.status_code == 303
    asked = attacker.get("/dashboard/keys/delete", params={"key": of_the_victim["key_id"]})
    assert "the victim's" not in asked.text


def test_filters_of_usage_find_nothing_of_somebody_elses(attacker: Visitor, of_the_victim: Mapping[str, str]) -> None:
    for path in ("/dashboard/usage", "/dashboard/usage.csv"):
        answer = attacker.get(path, params={"key": of_the_victim["key_id"]})
        assert answer.status_code == 200
        assert of_the_victim["request_id"] not in answer.text
        assert "the victim's" not in answer.text


@pytest.mark.parametrize("route", OF_OPERATORS, ids=named)
def test_no_operators_route_lets_a_customer_or_nobody_in(
    tollhouse: Deployment, attacker: Visitor, of_the_victim: Mapping[str, str], route: Route
) -> None:
    anything = dict.fromkeys(PIECE.findall(route.path), "x") | dict(of_the_victim)
    assert ask(attacker, attacker.token("/settings"), route, anything).status_code == 403
    nobody = Visitor.of(tollhouse)
    refused = ask(nobody, nobody.token("/sign-in"), route, anything)
    assert (refused.status_code, refused.headers["location"].partition("?")[0]) == (303, "/sign-in")


@pytest.mark.parametrize("odd", ODD)
def test_what_no_id_is_breaks_no_page_and_no_operation(tollhouse: Deployment, boss: Visitor, odd: str) -> None:
    token = boss.token("/settings")
    for route in PAGES:
        if PIECE.search(route.path):
            names = dict.fromkeys(PIECE.findall(route.path), odd)
            assert ask(boss, token, route, names).status_code < 500, named(route)
    for operation in OPERATIONS:
        if "{" in operation.path:
            path = PIECE.sub(odd, operation.path)
            answer = boss.client.request(operation.method, path, headers={"x-csrf-token": token}, json={})
            assert answer.status_code < 500, f"{operation.method} {path[:80]}"


@pytest.mark.parametrize("odd", ["\0", "9999-12-31", "9" * 30, "0000010000000"])
def test_what_an_address_says_breaks_no_page_and_no_operation(boss: Visitor, odd: str) -> None:
    names = (
        "after",
        "before",
        "search",
        "q",
        "page",
        "actor",
        "target",
        "tenant",
        "tenant_id",
        "since",
        "until",
        "key",
    )
    asked = dict.fromkeys((*names, "model", "from_ms", "to_ms", "limit", "cursor", "p", "page_size", "period"), odd)
    paths = [route.path for route in PAGES if method_of(route) == "GET" and not PIECE.search(route.path)]
    paths += [operation.path for operation in OPERATIONS if operation.method == "GET" and "{" not in operation.path]
    for path in paths:
        if not path.endswith("/live"):
            assert boss.get(path, params=asked).status_code < 500, path


@pytest.mark.parametrize("text", [r"a\u0000b", "a\ufffdb"])
def test_a_text_that_cannot_be_kept_is_the_callers_fault(boss: Visitor, text: str) -> None:
    body = f'{{"email": "{text}@tests.example", "tenant_id": "{text}", "id": "{text}", "ids": ["{text}"], "name": "k"}}'
    headers = {"x-csrf-token": boss.token("/settings"), "content-type": "application/json"}
    for operation in OPERATIONS:
        if operation.body is not None and "{" not in operation.path:
            answer = boss.client.request(operation.method, operation.path, headers=headers, content=body.encode())
            assert answer.status_code < 500, operation.name
