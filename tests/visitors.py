"""A browser without scripts, for tests: keeps cookies, follows nothing, sends forms with the token of their page."""

import html
import itertools
import re
from typing import Any, Self

import httpx2

from tests.deployment import NO_AUTHORITIES, Deployment

PASSWORD = "a sentence is a good password"
_addresses = itertools.count(1)


class Visitor:
    """One browser at one address, which no other visitor has: nobody's attempts throttle somebody else."""

    def __init__(self, console: str | httpx2.Client, **headers: str) -> None:
        number = next(_addresses)
        self.address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        if isinstance(console, str):
            console = httpx2.Client(base_url=console, timeout=30, verify=NO_AUTHORITIES)
        self.client = console
        self.client.headers.update({"x-forwarded-for": self.address, **headers})

    @classmethod
    def of(cls, tollhouse: Deployment, **headers: str) -> Self:
        """A visitor of a deployment's console."""
        return cls(tollhouse.console_url, **headers)

    # ---- requests ----

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(path, **options)

    def send(self, page: str, action: str, **fields: str) -> httpx2.Response:
        """Sends a form of a page: its token goes along."""
        return self.client.post(action, data={"csrf_token": self.token(page), **fields})

    def token(self, page: str) -> str:
        """The token that the forms of a page hold."""
        found = re.search(r'name="csrf_token" value="(\w+)"', self.get(page).text)
        assert found is not None, f"{page} has no form"
        return found[1]

    @property
    def secret(self) -> str:
        """What the session's cookie holds; empty without one."""
        return self.client.cookies.get("session") or ""

    # ---- what people do ----

    def register(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        return self.send("/register", "/register", email=email, password=password)

    def sign_in(self, email: str, password: str = PASSWORD, onward: str = "/dashboard") -> httpx2.Response:
        return self.send("/sign-in", "/sign-in", email=email, password=password, next=onward)

    def sign_out(self) -> httpx2.Response:
        return self.send("/settings", "/sign-out")

    @property
    def is_signed_in(self) -> bool:
        return self.get("/dashboard").status_code == 200


def customer(tollhouse: Deployment) -> Visitor:
    """A visitor who has just registered, and is signed in."""
    visitor = Visitor.of(tollhouse)
    answer = visitor.register(f"customer-{visitor.address}@tests.example")
    assert answer.status_code == 303, text_of(answer)
    return visitor


def operator(tollhouse: Deployment) -> Visitor:
    """A visitor who is signed in as the deployment's first operator."""
    visitor = Visitor.of(tollhouse)
    answer = visitor.sign_in(*tollhouse.operator)
    assert answer.status_code == 303, text_of(answer)
    return visitor


def text_of(answer: httpx2.Response) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", answer.text))).strip()
