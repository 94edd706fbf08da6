"""Unit tests of services.console.passwords and services.console.people's addresses."""

import pytest

from services.console.passwords import Passwords, Weak, check
from services.console.people import BadAddress, normalised


async def test_a_password_is_known_again_and_no_other_is() -> None:
    hasher = Passwords()
    stored = await hasher.hash("a good sentence")
    assert stored.startswith("$argon2id$")
    assert await hasher.verify(stored, "a good sentence")
    assert not await hasher.verify(stored, "a good sentence ")
    assert not hasher.outdated(stored)


async def test_two_hashes_of_one_password_differ() -> None:
    hasher = Passwords()
    assert await hasher.hash("a good sentence") != await hasher.hash("a good sentence")


async def test_nobody_has_a_password_and_neither_has_a_broken_hash() -> None:
    hasher = Passwords()
    hasher._nobodys = await hasher.hash("guessed")
    assert not await hasher.verify("", "guessed")
    assert not await hasher.verify("", "")
    assert not await hasher.verify("no hash", "whatever")


async def test_a_hash_of_weaker_parameters_is_to_be_made_anew() -> None:
    weak = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ"
    assert Passwords().outdated(weak)


@pytest.mark.parametrize("password", ["short", "x" * 201, "abcabcabcabc", "me@tests.example"])
def test_weak_passwords_are_told_apart(password: str) -> None:
    with pytest.raises(Weak):
        check(password, "me@tests.example")


def test_length_is_all_that_a_good_password_needs() -> None:
    check("correct horse battery", "me@tests.example")
    check("пароль из слов", "me@tests.example")


@pytest.mark.parametrize(
    "email",
    ["", "nobody", "@tests.example", "a@", "a b@tests.example", "a@b@c", "a@-\n.example", f"{'a' * 65}@b.example"],
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(BadAddress):
        normalised(email)


def test_an_address_is_stored_in_lower_case() -> None:
    assert normalised("  Me+Tag@Tests.Example ") == "me+tag@tests.example"
    assert normalised("operator@localhost") == "operator@localhost"
