"""What people do to their own accounts: noted in the audit log, and ended for whoever had got in; and that no secret
of all this is written down anywhere."""

import re

import psycopg
import pyotp
import pytest

from services.shared import clock, ids
from tests.api_callers import token_of
from tests.books import superuser_url
from tests.customers import make_key, voucher
from tests.deployment import Deployment
from tests.visitors import PASSWORD, Visitor, operator, text_of
from tollhouse.v1 import billing_pb2

NEW = "quite another sentence"


@pytest.fixture
def email() -> str:
    return f"{ids.ulid()}@tests.example"


@pytest.fixture
def visitor(tollhouse: Deployment, email: str) -> Visitor:
    made = Visitor.of(tollhouse)
    assert made.register(email).status_code == 303
    return made


def actions(tollhouse: Deployment, email: str) -> list[str]:
    """What the audit log says that this person did, oldest first."""
    entries = tollhouse.billing.ListAudit(billing_pb2.ListAuditRequest(actor=email)).entries
    return [entry.action for entry in reversed(entries)]


def turn_codes_on(visitor: Visitor) -> tuple[pyotp.TOTP, str]:
    """The device, and the page with the recovery codes."""
    assert visitor.send("/settings/codes", "/settings/codes/begin").status_code == 303
    secret = re.search(r'data-copy="([A-Z2-7]{32})"', visitor.get("/settings/codes").text)
    assert secret is not None
    device = pyotp.TOTP(secret[1])
    page = visitor.send("/settings/codes", "/settings/codes/confirm", code=device.at(clock.now_ms() // 1000))
    assert page.status_code == 200
    return device, text_of(page)


def change_password(visitor: Visitor, old: str = PASSWORD, new: str = NEW) -> int:
    return visitor.send("/settings", "/settings/password", old_password=old, new_password=new).status_code


def test_a_changed_password_gives_this_browser_a_new_session_and_shuts_out_who_had_its_old_one(
    tollhouse: Deployment, visitor: Visitor
) -> None:
    thief = Visitor.of(tollhouse, cookie=f"session={visitor.secret}")
    assert thief.is_signed_in
    before = visitor.secret
    assert change_password(visitor) == 303
    assert visitor.secret != before
    assert visitor.is_signed_in
    assert not thief.is_signed_in


def test_what_people_do_to_their_own_account_is_audited_and_what_failed_as_refused(
    tollhouse: Deployment, visitor: Visitor, email: str
) -> None:
    assert change_password(visitor, old="not the old one") == 422
    assert change_password(visitor) == 303
    token_of(visitor, "keys:read", name="for the audit")
    revoke = re.search(r'action="(/settings/tokens/token_\w+/revoke)"', visitor.get("/settings/tokens").text)
    assert revoke is not None
    assert visitor.send("/settings/tokens", revoke[1]).status_code == 303
    turn_codes_on(visitor)
    assert visitor.send("/settings/codes", "/settings/codes/drop", password="wrong").status_code == 422
    assert visitor.send("/settings/codes", "/settings/codes/drop", password=NEW).status_code == 303
    assert actions(tollhouse, email) == [
        "change_own_password",
        "change_own_password_refused",
        "change_own_password",
        "create_own_access_token",
        "revoke_own_access_token",
        "begin_own_codes",
        "confirm_own_codes",
        "drop_own_codes",
        "drop_own_codes_refused",
        "drop_own_codes",
    ]
    said = text_of(operator(tollhouse).get(f"/operator/audit?actor={email}"))
    assert "for the audit" in said


def test_no_secret_is_in_a_log_or_in_a_table(tollhouse: Deployment, visitor: Visitor, email: str) -> None:
    code = voucher(tollhouse)
    wrong = f"wrong {ids.ulid()}"
    assert visitor.send("/dashboard/billing", "/dashboard/billing/voucher", voucher=code).status_code == 303
    assert Visitor.of(tollhouse).sign_in(email, wrong).status_code == 401
    _, key = make_key(visitor, name="canary")
    assert tollhouse.messages(key).status == 200
    token = token_of(visitor, "keys:read")
    device, page = turn_codes_on(visitor)
    recovery = re.findall(r"\b[0-9a-z]{5}-[0-9a-z]{5}\b", page)
    secrets = [visitor.secret, wrong, PASSWORD, code, code.replace("-", ""), key, token, device.secret, *recovery]
    assert len(secrets) == 18
    kept = {path.name: path.read_text(errors="replace") for path in (tollhouse.state_dir / "log").iterdir()}
    with psycopg.connect(superuser_url(tollhouse)) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            r" WHERE schemaname <> 'information_schema' AND schemaname NOT LIKE 'pg\_%'"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()
            kept[table] = "\n".join(row[0] for row in rows)
    assert "console.people" in kept
    assert email in kept["console.people"], "what is searched is what is there"
    for where, text in kept.items():
        for secret in secrets:
            assert secret not in text, f"{secret[:3]}... is in {where}"
            assert secret.encode().hex() not in text, f"{secret[:3]}... is in {where}"
