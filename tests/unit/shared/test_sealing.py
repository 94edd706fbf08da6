"""Unit tests of services.shared.sealing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.sealing import KEY_BYTES, Sealer, Unsealable

SEALER = Sealer(bytes(range(KEY_BYTES)))
SEALED = SEALER.seal("secret", "owner")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100), st.text("abc_123", max_size=30))
def test_what_was_sealed_opens_for_its_owner(secret: str, owner_id: str) -> None:
    assert SEALER.open(SEALER.seal(secret, owner_id), owner_id) == secret


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_single_changed_byte_is_noticed(at: int, mask: int) -> None:
    with pytest.raises(Unsealable):
        SEALER.open(SEALED[:at] + bytes([SEALED[at] ^ mask]) + SEALED[at + 1 :], "owner")


@given(st.integers(0, len(SEALED) - 1))
def test_what_is_cut_short_does_not_open(length: int) -> None:
    with pytest.raises(Unsealable):
        SEALER.open(SEALED[:length], "owner")


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert SEALER.seal("secret", "owner") != SEALED


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(bytes(length))


def test_what_was_sealed_under_another_key_opens_while_that_is_known_and_is_sealed_anew() -> None:
    both = Sealer(bytes(reversed(range(KEY_BYTES))), bytes(range(KEY_BYTES)))
    assert both.open(SEALED, "owner") == "secret"
    anew = both.resealed(SEALED, "owner")
    assert anew is not None
    assert Sealer(bytes(reversed(range(KEY_BYTES)))).open(anew, "owner") == "secret"
    assert both.resealed(anew, "owner") is None
    with pytest.raises(Unsealable):
        both.resealed(SEALED, "somebody else")
