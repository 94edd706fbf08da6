"""Access tokens of the management API: who may make them, what they may do, and when they end."""

import re
from datetime import timedelta

import httpx2
import psycopg
import pytest

from tests.api_callers import ApiCaller, caller_with, token_of
from tests.books import superuser_url
from tests.deployment import Deployment
from tests.visitors import Visitor, customer, operator, text_of

SELF = "/api/user/self"


def expired(tollhouse: Deployment, token_id: str, by: timedelta = timedelta(seconds=1)) -> None:
    """Lets time pass for one token."""
    with psycopg.connect(superuser_url(tollhouse), autocommit=True) as connection:
        connection.execute(
            "UPDATE console.access_tokens SET expires_at = now() - %s WHERE token_id = %s", (by, token_id)
        )


def listed_ids(visitor: Visitor) -> list[str]:
    return re.findall(r"/settings/tokens/(token_\w+)/revoke", visitor.get("/settings/tokens").text)


def test_a_token_is_shown_once_and_speaks_for_its_person(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    secret = token_of(visitor, "account:read")
    assert secret not in visitor.get("/settings/tokens").text
    said = ApiCaller(tollhouse, secret).get(SELF)
    assert said.status_code == 200, said.text
    assert said.json()["data"]["email"] == f"customer-{visitor.address}@tests.example"


def test_a_token_is_taken_with_and_without_the_word_bearer(tollhouse: Deployment) -> None:
    secret = token_of(customer(tollhouse), "account:read")
    for header in (f"Bearer {secret}", f"bearer  {secret}", secret):
        assert httpx2.get(tollhouse.console_url + SELF, headers={"authorization": header}).status_code == 200


def test_nothing_of_a_token_but_its_hash_is_kept(tollhouse: Deployment) -> None:
    secret = token_of(customer(tollhouse), "account:read")
    with psycopg.connect(superuser_url(tollhouse)) as connection:
        rows = connection.execute("SELECT row_to_json(t)::text FROM console.access_tokens t").fetchall()
    assert rows
    assert not any(secret[4:] in row[0] for row in rows)


@pytest.mark.parametrize("header", ["Bearer tha_" + "A" * 43, "Bearer nonsense", "Basic dTpw", ""])
def test_what_is_no_good_token_is_401_and_says_how_to_come(tollhouse: Deployment, header: str) -> None:
    answer = httpx2.get(
        tollhouse.console_url + SELF, headers={"authorization": header, "x-forwarded-for": f"10.77.0.{len(header)}"}
    )
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_an_api_key_is_no_access_token(tollhouse: Deployment) -> None:
    key = tollhouse.tenant().key
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        assert httpx2.get(tollhouse.console_url + "/api/token/", headers=headers).status_code == 401


def test_an_expired_token_is_401(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    caller = ApiCaller(tollhouse, token_of(visitor, "account:read"))
    assert caller.get(SELF).status_code == 200
    expired(tollhouse, listed_ids(visitor)[0])
    assert caller.get(SELF).status_code == 401
    assert "expired" in text_of(visitor.get("/settings/tokens"))


def test_a_revoked_token_is_401_at_once(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    caller = ApiCaller(tollhouse, token_of(visitor, "account:read"))
    assert caller.get(SELF).status_code == 200
    done = visitor.send("/settings/tokens", f"/settings/tokens/{listed_ids(visitor)[0]}/revoke")
    assert done.status_code == 303
    assert caller.get(SELF).status_code == 401
    assert "revoked" in text_of(visitor.get("/settings/tokens"))


def test_nobody_revokes_somebody_elses_token(tollhouse: Deployment) -> None:
    owner, other = customer(tollhouse), customer(tollhouse)
    caller = ApiCaller(tollhouse, token_of(owner, "account:read"))
    foreign = listed_ids(owner)[0]
    assert other.send("/settings/tokens", f"/settings/tokens/{foreign}/revoke").status_code == 404
    assert caller.get(SELF).status_code == 200


def test_a_customer_cannot_make_an_operators_token(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    assert "admin:read" not in visitor.get("/settings/tokens").text
    asked = visitor.send("/settings/tokens", "/settings/tokens", name="sly", days="7", **{"admin:read": "on"})
    assert asked.status_code == 422


def test_an_operators_token_is_worth_nothing_when_its_person_is_none_any_more(tollhouse: Deployment) -> None:
    caller = caller_with(operator(tollhouse), tollhouse, "admin:people", "admin:read")
    email = f"second-{caller.visitor.address}@tests.example"
    made = caller.post("/api/admin/v1/people", json={"email": email, "role": "operator"}).json()
    second = Visitor.of(tollhouse)
    assert second.sign_in(email, made["password"]).status_code == 303
    theirs = ApiCaller(tollhouse, token_of(second, "admin:read"))
    assert theirs.get("/api/admin/v1/plans").status_code == 200
    with psycopg.connect(superuser_url(tollhouse), autocommit=True) as connection:
        connection.execute("UPDATE console.people SET role = 'customer' WHERE email = %s", (email,))
    assert theirs.get("/api/admin/v1/plans").status_code == 403


def test_the_tokens_of_somebody_who_is_shut_out_are_401(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    caller = ApiCaller(tollhouse, token_of(visitor, "account:read"))
    person_id = caller.get(SELF).json()["data"]["id"]
    admin = caller_with(operator(tollhouse), tollhouse, "admin:people")
    assert admin.put(f"/api/admin/v1/people/{person_id}", json={"enabled": False}).status_code == 200
    assert caller.get(SELF).status_code == 401
    assert not visitor.is_signed_in


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "", "days": "7", "keys:read": "on"}, "name"),
        ({"name": "n" * 51, "days": "7", "keys:read": "on"}, "name"),
        ({"name": "n", "days": "5000", "keys:read": "on"}, "when it ends"),
        ({"name": "n", "days": "7"}, "at least one"),
    ],
)
def test_a_form_that_does_not_fit_says_why(tollhouse: Deployment, fields: dict[str, str], why: str) -> None:
    answer = customer(tollhouse).send("/settings/tokens", "/settings/tokens", **fields)
    assert answer.status_code == 422
    assert why in text_of(answer)


def test_a_name_that_is_markup_is_shown_as_text(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    token_of(visitor, "keys:read", name="<img src=x onerror=alert(1)>")
    page = visitor.get("/settings/tokens").text
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
