"""Unit tests of services.console.handshake."""

import pytest

from services.console import sessions
from services.console.handshake import CONNECT, SIGN_IN, Handshake, connect_token, returned

SECRET, OTHER = (sessions.secret_of(bytes([number] * 32)) for number in (1, 2))


def test_what_comes_back_is_what_was_begun() -> None:
    for intent in (SIGN_IN, CONNECT):
        begun = Handshake(SECRET, intent, "salt")
        assert returned(SECRET, begun.state) == begun


def test_a_state_of_another_browser_or_intent_is_not_ours() -> None:
    state = Handshake(SECRET, SIGN_IN, "salt").state
    assert returned(OTHER, state) is None
    assert returned(SECRET, state.replace(SIGN_IN, CONNECT)) is None
    assert returned(SECRET, state.replace("salt", "pepper")) is None


@pytest.mark.parametrize("state", ["", ".", "sign-in", "sign-in.salt", "sign-in.salt.", "other.salt.mac", "é.é.é"])
def test_what_is_no_state_is_refused(state: str) -> None:
    assert returned(SECRET, state) is None


def test_state_nonce_and_verifier_tell_nothing_of_each_other_and_are_new_each_time() -> None:
    one, two = Handshake(SECRET, SIGN_IN, "a"), Handshake(SECRET, SIGN_IN, "b")
    said = [value for each in (one, two) for value in (each.state.rpartition(".")[2], each.nonce, each.verifier)]
    said += [connect_token(SECRET), sessions.csrf_token(SECRET), SECRET]
    assert len(set(said)) == len(said)


def test_a_verifier_is_as_long_as_the_standard_wants() -> None:
    assert 43 <= len(Handshake(SECRET, SIGN_IN, "a").verifier) <= 128
