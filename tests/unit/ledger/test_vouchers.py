"""Unit tests of services.ledger.vouchers."""

import pytest

from services.ledger.vouchers import code_hash, new_code


def test_a_code_can_be_typed_carelessly() -> None:
    code = new_code()
    assert len(code) == len("TH-12345-12345-12345-12345-12345")
    hashed = code_hash(code)
    assert hashed is not None
    assert len(hashed) == 32
    body = code.removeprefix("TH-")
    for typed in (code.lower(), code.replace("-", ""), code.replace("-", " "), f"  {code}\n", body):
        assert code_hash(typed) == hashed
    assert code_hash(body.replace("1", "l").replace("0", "o")) == hashed


@pytest.mark.parametrize("typed", ["", "TH-", "nonsense", "TH-U2345-12345-12345-12345-12345", "0" * 24, "0" * 300])
def test_what_cannot_be_a_code_has_no_hash(typed: str) -> None:
    assert code_hash(typed) is None


def test_codes_differ() -> None:
    assert len({new_code() for _ in range(1000)}) == 1000
