"""Unit tests of services.console.access_tokens."""

from datetime import UTC, datetime, timedelta

import pytest

from services.console.access_tokens import AccessToken, Scope, bearer, effective, grantable, secret_hash, secret_of

SECRET = secret_of(b"\x07" * 32)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def token(expires_at: datetime, revoked_at: datetime | None = None) -> AccessToken:
    return AccessToken("token_1", "person_1", "t", [], NOW, expires_at, None, revoked_at)


def test_a_secret_says_what_it_is_and_is_found_by_its_hash_alone() -> None:
    assert SECRET.startswith("tha_")
    assert len(SECRET) == 47
    assert SECRET.encode() not in secret_hash(SECRET)
    with pytest.raises(ValueError):
        secret_of(b"short")


@pytest.mark.parametrize("header", [f"Bearer {SECRET}", f"bearer   {SECRET} ", SECRET])
def test_a_token_is_found_in_its_header(header: str) -> None:
    assert bearer(header) == SECRET


@pytest.mark.parametrize("header", ["", "Bearer", f"Basic {SECRET}", SECRET[:-1], f"{SECRET}x", "Bearer sk-th-abc"])
def test_what_we_did_not_make_is_no_token(header: str) -> None:
    assert bearer(header) is None


def test_an_operators_scopes_do_nothing_for_a_customer() -> None:
    labels = ["keys:read", "admin:write", "of:another:version"]
    assert effective(labels, is_operator=False) == {Scope.KEYS_READ}
    assert effective(labels, is_operator=True) == {Scope.KEYS_READ, Scope.ADMIN_WRITE}
    assert not any(scope.for_operators for scope in grantable(is_operator=False))
    assert set(grantable(is_operator=True)) == set(Scope)


def test_a_token_ends_when_it_expires_or_is_revoked() -> None:
    later = NOW + timedelta(days=1)
    assert not token(later).ended(NOW)
    assert token(NOW).ended(NOW)
    assert token(later, revoked_at=NOW).ended(NOW)
