"""One-time codes of people on the real console, with a device that makes real ones."""

import psycopg
import pytest

from services.shared import ids
from tests.books import superuser_url
from tests.deployment import Deployment
from tests.second_factors import Enrolled, begin, show, with_password
from tests.visitors import PASSWORD, Visitor, text_of


@pytest.fixture
def enrolled(tollhouse: Deployment) -> Enrolled:
    return Enrolled.at(tollhouse)


def test_the_password_alone_signs_nobody_in_who_has_codes(tollhouse: Deployment, enrolled: Enrolled) -> None:
    visitor = with_password(tollhouse, enrolled.email)
    assert not visitor.is_signed_in
    assert show(visitor, "000000") == 401
    assert not visitor.is_signed_in
    before = visitor.secret
    assert show(visitor, enrolled.code()) == 303
    assert visitor.is_signed_in
    assert visitor.secret != before
    assert not Visitor.of(tollhouse, cookie=f"session={before}").is_signed_in


def test_a_code_is_good_once(tollhouse: Deployment, enrolled: Enrolled) -> None:
    code = enrolled.code()
    assert show(with_password(tollhouse, enrolled.email), code) == 303
    assert show(with_password(tollhouse, enrolled.email), code) == 401


def test_a_recovery_code_is_good_once_and_only_for_its_person(tollhouse: Deployment, enrolled: Enrolled) -> None:
    code = enrolled.recovery_codes[3]
    assert show(with_password(tollhouse, enrolled.email), code.upper()) == 303
    assert show(with_password(tollhouse, enrolled.email), code) == 401
    assert show(with_password(tollhouse, enrolled.email), enrolled.recovery_codes[4]) == 303
    assert "8 recovery codes are left" in text_of(enrolled.visitor.get("/settings/codes"))


def test_codes_cannot_be_guessed_at_leisure(tollhouse: Deployment, enrolled: Enrolled) -> None:
    visitor = with_password(tollhouse, enrolled.email)
    assert [show(visitor, f"{number:06d}") for number in range(9)] == [401] * 9  # one attempt was made to turn them on
    assert show(visitor, enrolled.code()) == 429


def test_nobody_is_asked_for_a_code_without_a_password(tollhouse: Deployment, enrolled: Enrolled) -> None:
    visitor = Visitor.of(tollhouse)
    assert visitor.get("/sign-in/code").headers["location"] == "/sign-in"
    assert visitor.send("/sign-in", "/sign-in/code", code=enrolled.code()).headers["location"] == "/sign-in"
    assert not visitor.is_signed_in


def test_codes_are_not_asked_for_before_a_device_has_shown_a_good_one(tollhouse: Deployment) -> None:
    email, visitor = f"{ids.ulid()}@tests.example", Visitor.of(tollhouse)
    assert visitor.register(email).status_code == 303
    begin(visitor)
    wrong = visitor.send("/settings/codes", "/settings/codes/confirm", code="000000")
    assert wrong.status_code == 422
    assert Visitor.of(tollhouse).sign_in(email).headers["location"] == "/dashboard"


def test_codes_are_turned_off_with_the_password_only(tollhouse: Deployment, enrolled: Enrolled) -> None:
    wrong = enrolled.visitor.send("/settings/codes", "/settings/codes/drop", password="not the password")
    assert wrong.status_code == 422
    assert with_password(tollhouse, enrolled.email)
    off = enrolled.visitor.send("/settings/codes", "/settings/codes/drop", password=PASSWORD)
    assert off.status_code == 303
    assert Visitor.of(tollhouse).sign_in(enrolled.email).headers["location"] == "/dashboard"


def test_the_database_holds_neither_the_secret_nor_recovery_codes(tollhouse: Deployment, enrolled: Enrolled) -> None:
    with psycopg.connect(superuser_url(tollhouse)) as connection:
        tables = ("one_time_codes", "recovery_codes")
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM console.{table}".encode())]
    kept = b"".join(bytes(value) for row in rows for value in row if isinstance(value, bytes))
    assert enrolled.device.secret.encode() not in kept
    assert not any(code.encode() in kept for code in enrolled.recovery_codes)
