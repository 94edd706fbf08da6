"""The words in which schemas are written: JSON Schema 2020-12, as OpenAPI 3.1 has it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Schema = dict[str, Any]

ANYTHING: Final[Schema] = {}
STRING: Final[Schema] = {"type": "string"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
NUMBER: Final[Schema] = {"type": "number"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
INTEGER: Final[Schema] = {"type": "integer"}
INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"


def described(schema: Schema, description: str) -> Schema:
    """The schema, with what it means."""
    return schema | {"description": description}


def of(name: str) -> Schema:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema, least: int = 0) -> Schema:
    """An array of at least so many members."""
    return {"type": "array", "items": items} | ({"minItems": least} if least else {})


def one_of_words(words: Sequence[str]) -> Schema:
    """A string out of these."""
    return {"type": "string", "enum": list(words)}


def either(*schemas: Schema) -> Schema:
    """What fits any of them."""
    return {"anyOf": list(schemas)}


def or_null(schema: Schema) -> Schema:
    """What may be null as well."""
    if "type" in schema and "enum" not in schema:
        return schema | {"type": [schema["type"], "null"]}
    return either(schema, {"type": "null"})


def record(needed: Mapping[str, Schema], more: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these members. Others may be there too: providers add some, and they pass unread."""
    schema: Schema = {"type": "object", "properties": {**needed, **(more or {})}, "additionalProperties": True}
    return schema | ({"required": list(needed)} if needed else {})


def closed(members: Mapping[str, Schema]) -> Schema:
    """An object of ours, with exactly these members."""
    return {
        "type": "object",
        "properties": dict(members),
        "required": list(members),
        "additionalProperties": False,
    }
