"""Unit tests of services.edge.dialects.request_fields."""

import msgspec
import pytest

from services.edge.dialects.request_fields import decode
from services.shared.errors import Refusal


class Part(msgspec.Struct):
    kind: str


class Turn(msgspec.Struct):
    role: str
    parts: list[Part] = msgspec.field(default_factory=list)


@pytest.mark.parametrize(
    ("raw", "field", "said"),
    [
        (b"{}", "", "role: field is required"),
        (b"{}", "turn", "turn.role: field is required"),
        (b'{"role": 1}', "turn", "turn.role: expected `str`, got `int`"),
        (b'{"role": "user", "parts": [{"kind": "a"}, {}]}', "turn", "turn.parts[1].kind: field is required"),
        (b'{"role": "user", "parts": [{"kind": "a"}, {}]}', "", "parts[1].kind: field is required"),
        (b"[]", "turn", "turn: expected `object`, got `array`"),
        (b"[]", "", "body: expected `object`, got `array`"),
    ],
)
def test_a_member_that_is_wrong_or_missing_is_named_with_its_place(raw: bytes, field: str, said: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode(raw, Turn, field)
    assert refused.value.message == said
    assert refused.value.details["param"] == said.partition(":")[0]
