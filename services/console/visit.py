"""Who makes a request, and for which brand: what pages and guards read of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from services.console import sessions
from services.console.store import SignedIn
from tollhouse.v1 import auth_pb2


@dataclass(frozen=True, slots=True)
class Visit:
    """One request's side of the conversation. `visit_of(request)` answers it in every endpoint."""

    brand: auth_pb2.Brand
    secret: str = field(repr=False)
    """What the session cookie holds, or will: it binds forms to this browser whether or not somebody is signed in."""
    person: SignedIn | None
    https: bool
    address: str
    """The client's address; empty when it is not known."""
    user_agent: str

    @property
    def csrf_token(self) -> str:
        """What forms repeat in `csrf_token`, and htmx in the header `x-csrf-token`."""
        return sessions.csrf_token(self.secret)

    @property
    def title(self) -> str:
        """What the brand is called."""
        return self.brand.title or self.brand.name


def visit_of(request: Request) -> Visit:
    """The visit that a request is part of."""
    visit: Visit = request.state.visit
    return visit


def person_of(request: Request) -> SignedIn:
    """Who is signed in. For endpoints behind a guard: without one it is a defect."""
    person = visit_of(request).person
    assert person is not None, "an endpoint without a guard asked who is signed in"
    return person


def tenant_of(request: Request) -> str:
    """Whose keys, usage and balance a page shows: never taken from what a request says."""
    return person_of(request).tenant_id
