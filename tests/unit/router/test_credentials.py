"""Unit tests of services.router.credentials."""

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.credentials import Sealer, Unsealable

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
SEALER = Sealer(MASTER_KEY)
SEALED = SEALER.seal("sk-ant-secret", "acc_1")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100), st.text("abc_123", max_size=30))
def test_what_was_sealed_opens_for_its_account(credential: str, account_id: str) -> None:
    assert SEALER.open(SEALER.seal(credential, account_id), account_id) == credential


def test_a_sealed_credential_shows_nothing_of_it_and_differs_each_time() -> None:
    assert b"secret" not in SEALED
    assert SEALER.seal("sk-ant-secret", "acc_1") != SEALED


def test_another_account_cannot_open_it() -> None:
    with pytest.raises(Unsealable):
        SEALER.open(SEALED, "acc_2")


def test_another_master_key_cannot_open_it() -> None:
    with pytest.raises(Unsealable):
        Sealer(base64.b64encode(os.urandom(32)).decode()).open(SEALED, "acc_1")


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_single_changed_byte_is_noticed(at: int, mask: int) -> None:
    changed = SEALED[:at] + bytes([SEALED[at] ^ mask]) + SEALED[at + 1 :]
    with pytest.raises(Unsealable):
        SEALER.open(changed, "acc_1")


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_one_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(Unsealable):
        SEALER.open(SEALED[:length], "acc_1")


def test_a_form_of_another_version_is_told_apart() -> None:
    with pytest.raises(Unsealable, match="another version"):
        SEALER.open(b"\x02" + SEALED[1:], "acc_1")


@pytest.mark.parametrize(
    "master_key",
    [
        "",
        "short",
        MASTER_KEY[:-1],
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        "!" + MASTER_KEY[1:],
        "\N{GREEK SMALL LETTER ALPHA}" * 44,
    ],
)
def test_a_master_key_that_is_not_base64_of_32_bytes_is_refused(master_key: str) -> None:
    with pytest.raises(ValueError):
        Sealer(master_key)


def test_no_error_shows_a_credential_or_the_master_key() -> None:
    with pytest.raises(Unsealable) as unsealable:
        SEALER.open(SEALED, "acc_2")
    with pytest.raises(ValueError) as refused:
        Sealer("hunter2")
    assert "sk-ant-secret" not in str(unsealable.value)
    assert "hunter2" not in str(refused.value)
