"""Unit tests of services.shared.principal."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import principal

PREFIXES = principal.longest_first(["cc_user_", "sk-rr-", "sk-cc-"])
BODIES = st.text("abcXYZ0189", min_size=1, max_size=60)


@pytest.mark.parametrize("prefix", PREFIXES)
@given(body=BODIES)
def test_a_key_is_the_same_whatever_known_prefix_it_bears(prefix: str, body: str) -> None:
    assert principal.body_of(prefix + body, PREFIXES) == body
    assert principal.key_hash(prefix + body, b"pepper", PREFIXES) == principal.key_hash(body, b"pepper")


def test_the_longest_prefix_is_taken_off_and_only_once() -> None:
    assert principal.body_of("sk-cc-abc", PREFIXES) == "abc"
    assert principal.body_of("sk-th-sk-abc", PREFIXES) == "sk-abc"
    assert principal.body_of("sk-unknown-abc", PREFIXES) == "unknown-abc"


def test_a_prefix_that_no_brand_has_belongs_to_the_body() -> None:
    assert principal.body_of("sk-cc-abc") == "cc-abc"
    assert principal.body_of("cc_user_abc") == "cc_user_abc"


@given(st.lists(st.text("abk-_", min_size=1, max_size=6), max_size=12))
def test_prefixes_are_ordered_so_that_none_hides_a_longer_one(some: list[str]) -> None:
    known = principal.longest_first(some)
    assert set(known) == {*some, *principal.KNOWN_PREFIXES}
    for index, prefix in enumerate(known):
        assert not any(later.startswith(prefix) for later in known[index + 1 :])


def test_the_prefixes_that_are_always_known_are_in_that_order() -> None:
    assert principal.longest_first([]) == principal.KNOWN_PREFIXES


def test_prefixes_are_told_apart_by_case() -> None:
    assert principal.body_of("SK-th-abc") == "SK-th-abc"


@given(BODIES, st.binary(min_size=1, max_size=64))
def test_the_hash_is_hmac_sha_256_under_the_pepper(body: str, pepper: bytes) -> None:
    expected = hmac.new(pepper, body.encode(), hashlib.sha256).digest()
    assert principal.key_hash("sk-th-" + body, pepper) == expected


@given(BODIES, BODIES)
def test_different_keys_and_different_peppers_have_different_hashes(one: str, other: str) -> None:
    assert (principal.key_hash(one, b"p") == principal.key_hash(other, b"p")) == (one == other)
    assert principal.key_hash(one, b"p") != principal.key_hash(one, b"q")


def test_new_keys_are_unlike_and_have_256_bits_without_hyphens() -> None:
    keys = {principal.new_key() for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        body = principal.body_of(key)
        assert key == "sk-th-" + body
        assert body.isascii()
        assert body.isalnum()
        assert 62 ** len(body) >= 2**256
        assert principal.body_of(body) == body


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_new_key_begins_with_its_brands_prefix(prefix: str) -> None:
    key = principal.new_key(prefix)
    assert key.startswith(prefix)
    assert principal.body_of(key, PREFIXES) == key[len(prefix) :]


def test_a_mask_says_what_a_hint_shows() -> None:
    assert principal.hint("sk-abcdefgh1234", "sk-", "{first4}**********{last4}") == "sk-a**********1234"
    assert principal.hint("cc_user_abcdefgh1234", "cc_user_", "{prefix}...{last4}") == "cc_user_...1234"


def test_a_hint_shows_the_prefix_and_four_characters_and_no_more() -> None:
    assert principal.hint("sk-th-abcdefghijkl") == "sk-th-...ijkl"
    assert principal.hint("abcdefghijkl") == "...ijkl"


def test_the_id_of_a_pepper_tells_it_from_others() -> None:
    pepper, other = b"pepper", b"another"
    assert principal.pepper_id(pepper) == principal.pepper_id(pepper) != principal.pepper_id(other)
    assert len(principal.pepper_id(pepper)) == 8
