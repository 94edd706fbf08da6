"""Unit tests of services.console.sessions."""

import pytest

from services.console import sessions

SECRET = sessions.secret_of(bytes(range(32)))
OTHER = sessions.secret_of(bytes(range(1, 33)))


def test_a_secret_holds_256_bits_and_is_fit_for_a_cookie() -> None:
    assert len(SECRET) == 43
    assert sessions.well_formed(SECRET)
    with pytest.raises(ValueError):
        sessions.secret_of(b"too short")


@pytest.mark.parametrize("secret", ["", "short", SECRET + "A", SECRET[:-1] + "=", SECRET[:-1] + "\n", "é" * 43])
def test_what_we_cannot_have_made_is_not_looked_up(secret: str) -> None:
    assert not sessions.well_formed(secret)


def test_what_is_stored_and_what_forms_hold_do_not_tell_the_secret_or_each_other() -> None:
    stored, token = sessions.secret_hash(SECRET), sessions.csrf_token(SECRET)
    assert len(stored) == 32
    assert len({SECRET, stored.hex(), token}) == 3


def test_a_token_is_good_for_its_own_session_only() -> None:
    token = sessions.csrf_token(SECRET)
    assert sessions.same_token(SECRET, token)
    assert not sessions.same_token(OTHER, token)
    assert not sessions.same_token(SECRET, "")
    assert not sessions.same_token(SECRET, "é")
