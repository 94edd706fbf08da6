"""JSON schemas: which ones OpenAI takes as strict, and an instance of one. Pure.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_DEEPEST: Final = 12
_PLAIN: Final[Mapping[str, Any]] = {"string": "naïve 東京", "integer": 7, "number": 0.5, "boolean": True, "null": None}
_UNIONS: Final = ("anyOf", "oneOf", "allOf")


def fault(schema: Mapping[str, Any]) -> str | None:
    """Why a schema cannot be strict, as the real API says it; None where it can."""
    if schema.get("type") != "object":
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."
    return next(_faults(schema, ()), None)


def _faults(schema: Any, context: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(schema, Mapping) or len(context) > 2 * _DEEPEST:
        return
    where = f"In context={context!r}, "
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, Mapping):
        if schema.get("additionalProperties") is not False:
            yield where + "'additionalProperties' is required to be supplied and to be false."
        required = schema.get("required")
        for name in properties if isinstance(properties, Mapping) else ():
            if not isinstance(required, list) or name not in required:
                yield (
                    f"{where}'required' is required to be supplied and to be an array including every key in"
                    f" properties. Missing '{name}'."
                )
    for group in ("properties", "$defs", "definitions"):
        members = schema.get(group)
        for name, member in members.items() if isinstance(members, Mapping) else ():
            yield from _faults(member, (*context, group, name))
    yield from _faults(schema.get("items"), (*context, "items"))
    for union in _UNIONS:
        options = schema.get(union)
        for index, option in enumerate(options if isinstance(options, list) else ()):
            yield from _faults(option, (*context, union, str(index)))


def specimen(schema: Mapping[str, Any]) -> Any:
    """A small instance of a schema; None where it goes too deep."""
    return _specimen(schema, schema, 0)


def _specimen(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if isinstance(schema.get("$ref"), str):
        return _specimen(_referred(schema["$ref"], root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for union in _UNIONS:
        if isinstance(schema.get(union), list) and schema[union]:
            return _specimen(schema[union][0], root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    if kind == "array":
        return [_specimen(schema["items"], root, depth + 1)] if "items" in schema else []
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind]
    properties = schema.get("properties")
    members = properties.items() if isinstance(properties, Mapping) else ()
    return {name: _specimen(member, root, depth + 1) for name, member in members}


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """What `#/$defs/name` points at."""
    found: Any = root
    for part in reference.removeprefix("#").split("/"):
        if part:
            found = found.get(part) if isinstance(found, Mapping) else None
    return found
