"""One-time codes: the second thing that somebody who signs in may have to show, beside the password. Pure.

A device and the console share a secret, of which a new code of six digits is made every 30 seconds (TOTP, RFC 6238).
For the day on which the device is lost there are recovery codes, each good once.
"""

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import Final

import pyotp
import segno

SECRET_BYTES: Final = 20  # RFC 4226, 4, R6
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10
_STEP_S: Final = 30
_DRIFT: Final = (0, -1, 1)
"""Time steps around the present one that are accepted, since clocks differ (RFC 6238, 5.2)."""
_ALPHABET: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghjkmnpqrstvwxyz")


def secret_of(random: bytes) -> str:
    """The shared secret as devices take it, base 32."""
    return base64.b32encode(random).decode()


def uri(secret: str, email: str, issuer: str) -> str:
    """What a device reads from the picture."""
    return pyotp.TOTP(secret, interval=_STEP_S).provisioning_uri(name=email, issuer_name=issuer)


def picture(text: str) -> str:
    """A QR code as a data URI."""
    return segno.make(text, error="m").svg_data_uri(scale=4, border=2, light="#fff", dark="#000")


def matching_step(secret: str, code: str, now_ms: int, last_step: int) -> int | None:
    """The time step that a code belongs to, if it is one of now and later than the last one accepted; else None."""
    totp, now_step = pyotp.TOTP(secret, interval=_STEP_S), now_ms // 1000 // _STEP_S
    for step in (now_step + drift for drift in _DRIFT):
        at = datetime.fromtimestamp(step * _STEP_S, UTC)
        if step > last_step and hmac.compare_digest(totp.at(at).encode(), _digits(code).encode()):
            return step
    return None


def recovery_codes(random: bytes) -> list[str]:
    """Codes such as `3k7mq-x0v2a`, 50 bits each, made of RECOVERY_CODES * RECOVERY_BYTES random bytes."""
    pieces = [random[start : start + RECOVERY_BYTES] for start in range(0, len(random), RECOVERY_BYTES)]
    texts = [base64.b32encode(piece).decode().translate(_ALPHABET)[:10] for piece in pieces]
    return [f"{text[:5]}-{text[5:]}" for text in texts]


def recovery_hash(code: str, secret: str) -> bytes:
    """What is stored of a recovery code: the database alone does not tell it. Its key is the device's secret, as text,
    so that it holds when the key changes that the secret is sealed under."""
    return hmac.digest(secret.encode(), plain(code), hashlib.sha256)


def plain(code: str) -> bytes:
    """A recovery code however it was written."""
    return re.sub(r"[\s-]", "", code.lower()).encode()


def _digits(code: str) -> str:
    return re.sub(r"\s", "", code)
