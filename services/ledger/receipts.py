"""Receipts: what one settled request used and cost, signed, so that it can be checked by whoever has the public key.

A receipt is a JWS in compact form (RFC 7515) with EdDSA over Ed25519 (RFC 8037). Its claims follow from the booked
usage alone, and Ed25519 is deterministic: asking twice gives the same bytes. Pure.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tollhouse.v1 import events_pb2, usage_pb2

TYPE: Final = "tollhouse-receipt+jwt"
_ALGORITHM: Final = "EdDSA"
_KEY_BYTES: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Forged(Exception):
    """A receipt that cannot be trusted; its text says why."""


class Signer:
    """Signs receipts with one Ed25519 key. `kid` is the key's RFC 7638 thumbprint, `public_key` its 32 bytes."""

    def __init__(self, key: Ed25519PrivateKey, issuer: str) -> None:
        self._key = key
        self._issuer = issuer
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.kid = thumbprint(self.public_key)

    def sign(self, usage: usage_pb2.Usage) -> str:
        """The receipt of a request."""
        return jwt.encode(
            claims(usage, self._issuer), self._key, algorithm=_ALGORITHM, headers={"kid": self.kid, "typ": TYPE}
        )


def signing_key(text: str) -> Ed25519PrivateKey:
    """The key from PEM (PKCS 8) or from base64 of its 32 bytes. Raises ValueError."""
    if text.lstrip().startswith("-----BEGIN"):
        key = load_pem_private_key(text.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the PEM holds no Ed25519 key")
        return key
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("is neither PEM nor base64") from None
    if len(raw) != _KEY_BYTES:
        raise ValueError(f"is base64 of {len(raw)} bytes, not of {_KEY_BYTES}")
    return Ed25519PrivateKey.from_private_bytes(raw)


def thumbprint(public_key: bytes) -> str:
    """The RFC 7638 thumbprint of an Ed25519 public key (RFC 8037 appendix A.3)."""
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(public_key)}"}}'
    return _base64url(hashlib.sha256(jwk.encode()).digest())


def claims(usage: usage_pb2.Usage, issuer: str) -> dict[str, Any]:
    """What a receipt says. Digests that are not known are left out."""
    tokens = usage.tokens
    created_at = _EPOCH + timedelta(milliseconds=usage.created_ms)
    said: dict[str, Any] = {
        "iss": issuer,
        "request_id": usage.request_id,
        "tenant_id": usage.tenant_id,
        "model": usage.model,
        "status": events_pb2.UsageStatus.Name(usage.status).removeprefix("USAGE_STATUS_").lower(),
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_5m_tokens": tokens.cache_write_5m,
        "cache_write_1h_tokens": tokens.cache_write_1h,
        "requests": tokens.requests,
        "price_version": usage.price_version,
        "multiplier_ppm": usage.multiplier_ppm,
        "cost_nano": usage.cost_nano,
        "estimated": usage.estimated,
        "attempts": usage.attempts,
        "created_at": created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if usage.request_sha256:
        said["request_sha256"] = usage.request_sha256.hex()
    if usage.response_sha256:
        said["response_sha256"] = usage.response_sha256.hex()
    return said


def verify(receipt: str, keys: Mapping[str, bytes]) -> dict[str, Any]:
    """What a receipt says, when one of `keys` (public key by kid) signed it. Raises Forged."""
    try:
        header = jwt.get_unverified_header(receipt)
        if header.get("typ") != TYPE or header.get("alg") != _ALGORITHM:
            raise Forged("it is not a receipt of Tollhouse")
        public_key = keys.get(str(header.get("kid")))
        if public_key is None:
            raise Forged(f"it names the key {header.get('kid')!r}, which is not among the {len(keys)} known keys")
        said: dict[str, Any] = jwt.decode(
            receipt,
            Ed25519PublicKey.from_public_bytes(public_key),
            algorithms=[_ALGORITHM],
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
        )
    except jwt.InvalidSignatureError:
        raise Forged("its signature does not fit: it was changed after it was signed") from None
    except (jwt.InvalidTokenError, ValueError) as error:
        raise Forged(f"it is not a receipt: {error}") from None
    return said


def keys_of(jwks: Mapping[str, Any]) -> dict[str, bytes]:
    """The Ed25519 public keys of a JWKS document (RFC 7517), by kid. Raises ValueError."""
    try:
        return {
            str(jwk["kid"]): base64.urlsafe_b64decode(jwk["x"] + "=" * (-len(jwk["x"]) % 4))
            for jwk in jwks["keys"]
            if jwk["kty"] == "OKP" and jwk["crv"] == "Ed25519"
        }
    except (KeyError, TypeError, binascii.Error):
        raise ValueError("is not a JWKS document") from None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
