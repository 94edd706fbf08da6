"""Unit tests of services.edge.dialects.asked: requests are gone through once, or twice, with one result."""

import json
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects.anthropic_requests import read_count_tokens, read_messages
from services.edge.dialects.asked import Asked, Defaults, Reader, Request
from services.edge.dialects.openai_requests import read_chat, read_embeddings, read_responses
from services.shared.errors import Refusal
from tests.deployment import ROOT

DEFAULTS = Defaults(max_tokens=4096, output_tokens=16_384, thinking_tokens=8192)
READERS: dict[str, Callable[[bytes, Defaults], Asked]] = {
    "/v1/messages": read_messages,
    "/v1/messages/count_tokens": read_count_tokens,
    "/v1/chat/completions": read_chat,
    "/v1/responses": read_responses,
    "/v1/embeddings": read_embeddings,
}
CAPTURED = [
    pytest.param(READERS[path], json.dumps(request["body"]).encode(), id=f"{file.stem}-{number}")
    for file in sorted((ROOT / "tests" / "data" / "captures").glob("*.json"))
    for number, request in enumerate(json.loads(file.read_text())["requests"])
    if (path := request["path"].partition("?")[0]) in READERS
]


class Small(Request):
    n: int = 0


READER = Reader(Small, "beside")


def read(body: bytes) -> Small | tuple[str, str | None]:
    """What is read, or how it is refused and for which field."""
    try:
        return msgspec.convert(READER.read(body), Small, from_attributes=True)
    except Refusal as refusal:
        return refusal.message, refusal.details.get("param")


@pytest.mark.parametrize(("reader", "body"), CAPTURED)
def test_what_todays_clients_send_is_gone_through_once(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[[bytes, Defaults], Asked], body: bytes
) -> None:
    expected = reader(body, DEFAULTS)

    def again(self: Reader[Any], body: bytes) -> NoReturn:
        raise AssertionError("it holds a field that is not known here")

    monkeypatch.setattr(Reader, "_look_through", again)
    assert reader(body, DEFAULTS) == expected


NAMES = st.sampled_from(("model", "Model", "MODEL", "n", "N", "beside", "Beside", "other", "Other"))
VALUES = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(("m", "")), st.lists(st.integers(), max_size=2))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_once_or_twice_a_request_is_read_and_refused_alike(members: list[tuple[str, Any]]) -> None:
    body = b"{" + b",".join(b"%b:%b" % (json.dumps(n).encode(), json.dumps(v).encode()) for n, v in members) + b"}"
    once = read(body)
    unknown = body[:-1] + (b"," if members else b"") + b'"unheard_of":1}'
    assert read(unknown) == once


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b'{"model":"m","MODEL":"dear"}', ("MODEL: is no field; model is", "MODEL")),
        (b'{"model":"m","beside":1,"N":2}', ("N: is no field; n is", "N")),
        (b'{"model":"m","n":"x"}', ("n: expected `int`, got `str`", "n")),
        (b'{"n":1}', ("model: field is required", "model")),
        (b'{"model":""}', ("model: must be 1 to 200 characters long", "model")),
        (b"[]", ("the body must be a JSON object", "")),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(body: bytes, refused: tuple[str, str]) -> None:
    assert read(body) == refused


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"model":"m","beside":[1,}', b'{"model":"m","\xff":1}', b'{"model":"m"} x']
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    said = read(body)
    assert isinstance(said, tuple)
    assert "is not valid JSON" in said[0]


def test_what_is_nested_too_deeply_is_refused() -> None:
    body = b'{"model":"m","beside":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert read(body) == ("the body is nested too deeply", None)


def test_names_beside_the_known_ones_are_passed_on_in_any_case() -> None:
    assert read(b'{"model":"m","Beside":1,"beside":2}') == Small("m")
