"""People who sign in with one-time codes, with devices that make real ones, for tests."""

import re
from dataclasses import dataclass
from typing import Self

import pyotp

from services.shared import clock, ids
from tests.deployment import Deployment
from tests.visitors import Visitor, text_of


@dataclass
class Enrolled:
    """Somebody who has turned codes on."""

    email: str
    visitor: Visitor
    device: pyotp.TOTP
    recovery_codes: list[str]

    @classmethod
    def at(cls, tollhouse: Deployment) -> Self:
        """A new person of a deployment."""
        email, visitor = f"{ids.ulid()}@tests.example", Visitor.of(tollhouse)
        assert visitor.register(email).status_code == 303
        device = begin(visitor)
        page = visitor.send("/settings/codes", "/settings/codes/confirm", code=device.at(clock.now_ms() // 1000))
        assert page.status_code == 200
        recovery_codes = re.findall(r"\b[0-9a-z]{5}-[0-9a-z]{5}\b", text_of(page))
        assert len(recovery_codes) == 10
        return cls(email, visitor, device, recovery_codes)

    def code(self) -> str:
        """A code that was not shown before: turning codes on took the one of the present time step."""
        return self.device.at(clock.now_ms() // 1000 + 30)


def begin(visitor: Visitor) -> pyotp.TOTP:
    """The device of somebody who begins to turn codes on."""
    assert visitor.send("/settings/codes", "/settings/codes/begin").status_code == 303
    secret = re.search(r'data-copy="([A-Z2-7]{32})"', visitor.get("/settings/codes").text)
    assert secret is not None
    return pyotp.TOTP(secret[1])


def with_password(tollhouse: Deployment, email: str) -> Visitor:
    """Somebody who knows the password, and is asked for a code now."""
    visitor = Visitor.of(tollhouse)
    answer = visitor.sign_in(email, onward="/settings")
    assert answer.headers["location"] == "/sign-in/code?next=%2Fsettings"
    return visitor


def show(visitor: Visitor, code: str) -> int:
    """Shows a code; answers the status, 303 when it was good."""
    page = "/sign-in/code?next=%2Fsettings"
    return visitor.send(page, "/sign-in/code", code=code, next="/settings").status_code
