"""Which schemas may be strict, and instances of schemas."""

from typing import Any

import pytest
from hypothesis import given

from services.simulator.schemas import fault, specimen
from tests.unit.simulator.requests import SCHEMA, VALUES

OPEN = {"type": "object", "properties": {}}
CLOSED = OPEN | {"additionalProperties": False}


@pytest.mark.parametrize("schema", [SCHEMA, CLOSED])
def test_a_closed_schema_may_be_strict(schema: dict[str, Any]) -> None:
    assert fault(schema) is None


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "got 'type: \"None\"'"),
        ({"type": "array"}, "got 'type: \"array\"'"),
        (OPEN, "In context=(), 'additionalProperties' is required"),
        (SCHEMA | {"required": ["city"]}, "Missing 'days'"),
        (CLOSED | {"properties": {"a": OPEN}, "required": ["a"]}, "In context=('properties', 'a')"),
        (CLOSED | {"$defs": {"a": OPEN}}, "In context=('$defs', 'a')"),
        (CLOSED | {"anyOf": [CLOSED, OPEN]}, "In context=('anyOf', '1')"),
    ],
)
def test_an_open_schema_may_not_be_strict(schema: dict[str, Any], words: str) -> None:
    assert words in (fault(schema) or "")


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "integer"}, 7),
        ({"type": ["null", "string"]}, None),
        ({"const": 5}, 5),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"type": "array", "items": {"type": "number"}}, [0.5]),
        ({"type": "array"}, []),
        ({"$ref": "#/$defs/none"}, None),
        ({"$ref": "#"}, None),
        (SCHEMA, {"city": "naïve 東京", "days": ["monday"]}),
    ],
)
def test_an_instance_obeys_its_schema(schema: dict[str, Any], instance: Any) -> None:
    assert specimen(schema) == instance


@given(VALUES)
def test_no_schema_is_more_than_refused(value: Any) -> None:
    for schema in ({"type": "object", "properties": value}, {"type": value, "items": value}, {"anyOf": value}):
        fault(schema)
        specimen(schema)
