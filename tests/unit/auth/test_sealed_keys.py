"""Unit tests of services.auth.sealed_keys."""

import pytest

from services.auth.sealed_keys import sealer_of
from services.shared.principal import new_key
from services.shared.sealing import Unsealable

SECRET = new_key()
SEALED = sealer_of(b"pepper").seal(SECRET, "key_1")


def test_a_copy_opens_for_every_auth_that_has_the_pepper() -> None:
    assert sealer_of(b"pepper").open(SEALED, "key_1") == SECRET


def test_a_copy_opens_under_no_other_pepper_and_for_no_other_key() -> None:
    with pytest.raises(Unsealable):
        sealer_of(b"peppes").open(SEALED, "key_1")
    with pytest.raises(Unsealable):
        sealer_of(b"pepper").open(SEALED, "key_2")


def test_a_copy_shows_nothing_of_the_key() -> None:
    assert SECRET[-8:].encode() not in SEALED
