"""Unit tests of services.console.failures."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.console.failures import sentence
from services.console.problems import Problem
from services.shared.errors import Blame, Kind, Refusal


def test_what_people_can_change_is_said_in_the_services_own_words() -> None:
    refusal = Refusal(Kind.INVALID_REQUEST, "name: must have 1 to 50 characters")
    assert sentence(refusal) == "Name: must have 1 to 50 characters."
    assert sentence(Refusal(Kind.VOUCHER_SPENT, "it was redeemed!")) == "It was redeemed!"


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.blame is Blame.OURS], ids=lambda kind: kind.label)
def test_what_is_our_fault_is_told_without_detail(kind: Kind) -> None:
    said = sentence(Refusal(kind, "connection to 10.0.0.3:5432 failed"))
    assert "10.0.0.3" not in said
    assert "try again" in said


async def test_a_problem_that_a_page_raises_is_answered_with_its_status() -> None:
    async def raising(request: Request) -> Response:
        raise Problem(409, "It was changed meanwhile.")

    async def told(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return Response(error.detail, error.status)

    app = Starlette(routes=[Route("/", raising)], exception_handlers={Problem: told})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://console") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.text) == (409, "It was changed meanwhile.")
