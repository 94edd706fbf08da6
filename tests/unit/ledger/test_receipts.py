"""Unit tests of services.ledger.receipts."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.receipts import Forged, Signer, claims, keys_of, signing_key, thumbprint, verify
from tollhouse.v1 import events_pb2, types_pb2, usage_pb2

RAW = bytes(range(32))
SIGNER = Signer(signing_key(base64.b64encode(RAW).decode()), "tollhouse")
KEYS = {SIGNER.kid: SIGNER.public_key}
USAGE = usage_pb2.Usage(
    request_id="req_1",
    tenant_id="acme",
    model="opus",
    status=events_pb2.USAGE_STATUS_OK,
    tokens=types_pb2.TokenCounts(input=1, output=2, cache_read=3, cache_write_5m=4, cache_write_1h=5),
    cost_nano=1_500,
    price_version=7,
    multiplier_ppm=1_000_000,
    attempts=1,
    created_ms=1_790_000_000_120,
    request_sha256=b"\x01" * 32,
)


def test_a_receipt_says_what_it_was_made_of() -> None:
    said = verify(SIGNER.sign(USAGE), KEYS)
    assert said == claims(USAGE, "tollhouse")
    assert said["request_sha256"] == "01" * 32
    assert "response_sha256" not in said
    assert said["status"] == "ok"
    assert said["created_at"] == "2026-09-21T14:13:20.120Z"


def test_signing_twice_gives_the_same_bytes() -> None:
    assert SIGNER.sign(USAGE) == SIGNER.sign(USAGE)


def test_a_thumbprint_is_that_of_the_rfc() -> None:
    # RFC 8037 appendix A.3
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert thumbprint(base64.urlsafe_b64decode(x + "=")) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@given(st.data())
def test_a_receipt_with_one_character_changed_is_forged(data: st.DataObject) -> None:
    receipt = SIGNER.sign(USAGE)
    # The last character of a part of 64 bytes has bits that count for nothing.
    place = data.draw(st.integers(0, len(receipt) - 2))
    other = data.draw(st.sampled_from([c for c in "ABCxyz019-_." if c != receipt[place]]))
    with pytest.raises(Forged):
        verify(receipt[:place] + other + receipt[place + 1 :], KEYS)


@pytest.mark.parametrize("receipt", ["", "x", "a.b.c", "....", "\0", SIGNER.sign(USAGE).rpartition(".")[0] + "."])
def test_what_is_no_receipt_is_refused(receipt: str) -> None:
    with pytest.raises(Forged):
        verify(receipt, KEYS)


def test_a_receipt_of_an_unknown_key_is_refused() -> None:
    with pytest.raises(Forged, match="not among the 0 known keys"):
        verify(SIGNER.sign(USAGE), {})


def test_a_key_may_be_pem() -> None:
    key = Ed25519PrivateKey.from_private_bytes(RAW)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert Signer(signing_key(pem), "x").kid == SIGNER.kid


def test_what_is_no_key_is_refused() -> None:
    foreign = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text in ("", "AAAA", "not base64!", "-----BEGIN nothing", foreign.decode()):
        with pytest.raises(ValueError):
            signing_key(text)


def test_keys_are_read_from_a_jwks_document() -> None:
    x = base64.urlsafe_b64encode(SIGNER.public_key).rstrip(b"=").decode()
    document = {
        "keys": [{"kty": "OKP", "crv": "Ed25519", "kid": SIGNER.kid, "x": x}, {"kty": "RSA", "crv": "", "kid": ""}]
    }
    assert keys_of(json.loads(json.dumps(document))) == KEYS
    for wrong in ({}, {"keys": 1}, {"keys": [{"kty": "OKP"}]}):
        with pytest.raises(ValueError):
            keys_of(wrong)
