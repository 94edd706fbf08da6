"""Unit tests of services.console.one_time_codes."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from services.console import one_time_codes as codes

# RFC 6238, appendix B, the SHA-1 rows: the last six of their eight digits.
SECRET = base64.b32encode(b"12345678901234567890").decode()
VECTORS = {59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"}


def test_codes_are_those_of_the_standard() -> None:
    for at_s, code in VECTORS.items():
        assert codes.matching_step(SECRET, code, at_s * 1000, 0) == at_s // 30


def test_a_code_of_the_step_before_or_after_is_good_and_one_further_off_is_not() -> None:
    code, at_ms = VECTORS[1234567890], 1234567890_000
    assert [codes.matching_step(SECRET, code, at_ms + late * 30_000, 0) is not None for late in (-2, -1, 0, 1, 2)] == [
        *(False, True, True, True, False)
    ]


def test_a_code_is_not_good_twice() -> None:
    step = codes.matching_step(SECRET, VECTORS[59], 59_000, 0)
    assert step == 1
    assert codes.matching_step(SECRET, VECTORS[59], 59_000, step) is None


def test_spaces_in_a_code_do_no_harm_and_other_texts_are_no_codes() -> None:
    assert codes.matching_step(SECRET, " 287 082 ", 59_000, 0) == 1
    for text in ("", "28708", "2870820", "abcdef", "２８７０８２"):
        assert codes.matching_step(SECRET, text, 59_000, 0) is None


@given(st.binary(min_size=100, max_size=100))
def test_recovery_codes_can_be_typed_and_are_found_however_they_are_typed(random: bytes) -> None:
    made = codes.recovery_codes(random)
    assert len(made) == codes.RECOVERY_CODES
    for code in made:
        assert len(code) == 11
        assert not set(code) - set("0123456789abcdefghjkmnpqrstvwxyz-")
        assert codes.recovery_hash(code, "secret") == codes.recovery_hash(
            f" {code.upper().replace('-', ' ')}", "secret"
        )
        assert codes.recovery_hash(code, "secret") != codes.recovery_hash(code, "other secret")


def test_what_the_device_reads_names_person_and_brand() -> None:
    read = codes.uri(SECRET, "me@tests.example", "The House")
    assert read.startswith("otpauth://totp/The%20House:me%40tests.example?")
    assert f"secret={SECRET}" in read
    assert codes.picture(read).startswith("data:image/svg+xml")
