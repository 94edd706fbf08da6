"""Unit tests of services.edge.answers: an application of its own, asked by a client in the same process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from services.edge.answers import Answers, Context, answered, context_of, no_route
from services.edge.brand import Brand
from services.edge.brands import Brands, Lists
from services.shared.errors import Kind, Refusal

CC = Brand(name="cc", hosts=("cc.example",), request_id_header="X-CC-Request-Id", google_keys_on_models=False)
HAZE = Brand(name="haze", hosts=("haze.example",), openai_error_types={"internal": "oops"}, bare_errors=True)


@dataclass
class Application:
    """What endpoints do, and the contexts that they were called with."""

    seen: list[Context] = field(default_factory=list)
    raises: Exception | None = None

    async def object(self, request: Request) -> dict[str, Any]:
        self.seen.append(context_of(request))
        if self.raises is not None:
            raise self.raises
        return {"fine": True}

    async def response(self, request: Request) -> Response:
        return PlainTextResponse("plain", headers={"x-own": "1"})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def client(application: Application) -> AsyncIterator[httpx2.AsyncClient]:
    brands = Brands(lambda: cast(Lists, None))
    brands.take([CC, HAZE])
    routes = [
        Route("/v1/models", answered(application.object)),
        Route("/v1beta/models", answered(application.object)),
        Route("/v1/usage", answered(application.object)),
        Route("/plain", answered(application.response)),
    ]
    starlette = Starlette(routes=routes, exception_handlers={HTTPException: no_route})
    answers = Answers(starlette, brands)
    transport = httpx2.ASGITransport(app=cast(Any, answers))
    async with httpx2.AsyncClient(transport=transport, base_url="http://nobody.example") as asking:
        yield asking


async def test_an_object_goes_out_as_json_and_a_response_as_it_is(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/usage")
    assert (answer.json(), answer.headers["content-type"]) == ({"fine": True}, "application/json")
    plain = await client.get("/plain")
    assert (plain.text, plain.headers["x-own"]) == ("plain", "1")


async def test_every_answer_tells_the_request_id_that_its_endpoint_saw(
    client: httpx2.AsyncClient, application: Application
) -> None:
    answer = await client.get("/v1/usage", headers={"host": "cc.example"})
    assert answer.headers["x-request-id"] == answer.headers["x-cc-request-id"] == application.seen[0].request_id
    again = await client.get("/v1/usage", headers={"host": "haze.example"})
    assert again.headers["x-request-id"] != answer.headers["x-request-id"]
    assert "x-cc-request-id" not in again.headers
    assert "x-request-id" in (await client.get("/plain")).headers


async def test_a_defect_is_told_without_its_words_and_logged_under_the_request_id(
    client: httpx2.AsyncClient, application: Application
) -> None:
    application.raises = ZeroDivisionError("a secret")
    with capture_logs() as logged:
        answer = await client.get("/v1/models", headers={"host": "haze.example"})
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("oops", "internal")
    assert error["message"].endswith(f"(request id: {answer.headers['x-request-id']})")
    assert "secret" not in answer.text
    assert [(entry["event"], entry["request_id"]) for entry in logged] == [
        ("answer_failed", answer.headers["x-request-id"])
    ]


async def test_a_refusal_has_the_words_of_brand_and_shape(client: httpx2.AsyncClient, application: Application) -> None:
    application.raises = Refusal(Kind.KEY_UNKNOWN, "who is that?")
    bare = await client.get("/v1/usage", headers={"host": "haze.example"})
    assert bare.json().keys() == {"error"}
    assert (await client.get("/v1/usage")).json()["type"] == "error"
    assert (await client.get("/v1/models")).json()["error"]["code"] == "invalid_api_key"
    gemini = await client.get("/v1beta/models")
    assert gemini.json()["error"]["status"] == "UNAUTHENTICATED"
    assert gemini.headers["x-should-retry"] == "false"


async def test_what_no_route_takes_is_refused_likewise(client: httpx2.AsyncClient) -> None:
    unknown = await client.get("/v1beta/nothing")
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (404, "NOT_FOUND")
    method = await client.post("/v1/usage")
    assert (method.status_code, method.json()["error"]["type"]) == (405, "invalid_request_error")
    assert "GET" in method.headers["allow"]
    odd = await client.get("/nothing", headers={"host": "[not a host"})
    assert (odd.status_code, odd.json()["error"]["type"]) == (404, "not_found_error")


async def test_googles_forms_of_a_key_count_where_they_are_honoured_only(
    client: httpx2.AsyncClient, application: Application
) -> None:
    google = {"x-goog-api-key": " k1 "}
    for path, host, keys, shape in (
        ("/v1/models?key=k2", "nobody.example", [b"k1", b"k2"], "gemini"),
        ("/v1/models?key=k2", "cc.example", [], "openai"),
        ("/v1beta/models?key=%6b2&key=", "cc.example", [b"k1", b"k2"], "gemini"),
        ("/v1/usage?key=k2", "nobody.example", [], "anthropic"),
    ):
        await client.get(path, headers={"host": host, **google})
        assert application.seen[-1].head.keys == keys
        assert application.seen[-1].shape == shape


async def test_a_browser_is_told_that_its_page_may_ask_and_read(client: httpx2.AsyncClient) -> None:
    origin = {"origin": "https://page.example"}
    for path in ("/v1/usage", "/plain", "/nothing"):
        preflight = await client.options(path, headers=origin)
        assert (preflight.status_code, preflight.content) == (204, b"")
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert (await client.get(path, headers=origin)).headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-origin" not in (await client.get(path)).headers
    assert (await client.options("/plain")).status_code == 405
