"""A brand as a file: TOML whose names are the fields of tollhouse.v1.Brand. Pure.

name = "house"
hosts = ["api.house.example"]
key_prefix = "house_"
top_ups = ["card"]

[error_types]
key_unknown = "authentication_error"
"""

import json
import tomllib
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from tollhouse.v1 import auth_pb2

_FIELDS: Final = auth_pb2.Brand.DESCRIPTOR.fields_by_name
_TOP_UP: Final = "TOP_UP_"
_UINT32_MAX: Final = (1 << 32) - 1


class Faults(Exception):
    """Everything that is wrong with a file, a line each."""


def parse(text: str) -> auth_pb2.Brand:
    """The brand that a file says: of the right fields and types. What they may hold auth checks. Raises Faults."""
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Faults(f"not TOML: {error}") from None
    brand, faults = auth_pb2.Brand(), []
    for name, value in read.items():
        try:
            _take(brand, name, value)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if "name" not in read:
        faults.append("name: is missing")
    if faults:
        raise Faults("\n".join(faults))
    return brand


def render(brand: auth_pb2.Brand) -> str:
    """The file that says this brand."""
    values = {name: getattr(brand, name) for name in _FIELDS}
    lines = [
        f"{name} = {_rendered(name, value)}"
        for name, value in values.items()
        if not _is_map(_FIELDS[name]) and (value or name == "name")
    ]
    for name, value in values.items():
        if _is_map(_FIELDS[name]) and value:
            lines += ["", f"[{name}]", *(f"{_name(key)} = {_text(value[key])}" for key in sorted(value))]
    return "\n".join(lines) + "\n"


def _take(brand: auth_pb2.Brand, name: str, value: Any) -> None:
    """Sets one field. Raises ValueError that says what is wrong with the value."""
    field = _FIELDS.get(name)
    if field is None:
        raise ValueError(f"is no field of a brand: {', '.join(sorted(_FIELDS))}")
    if _is_map(field):
        if not isinstance(value, dict) or not all(isinstance(word, str) for word in value.values()):
            raise ValueError("must be a table of texts")
        getattr(brand, name).update(value)
    elif field.is_repeated:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError("must be a list of texts")
        getattr(brand, name).extend(_top_ups(value) if field.enum_type else value)
    else:
        setattr(brand, name, _scalar(field, value))


def _scalar(field: FieldDescriptor, value: Any) -> str | bool | int:
    if field.type == FieldDescriptor.TYPE_BOOL:
        if isinstance(value, bool):
            return value
        raise ValueError("must be true or false")
    if field.type == FieldDescriptor.TYPE_STRING:
        if isinstance(value, str):
            return value
        raise ValueError("must be a text")
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _UINT32_MAX:
        return value
    raise ValueError("must be a whole number of 0 or more")


def _top_ups(names: Iterable[str]) -> list[auth_pb2.TopUp.ValueType]:
    known = {name.removeprefix(_TOP_UP).lower(): number for name, number in auth_pb2.TopUp.items() if number}
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(known)}")
    return [known[name] for name in names]


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _rendered(name: str, value: Any) -> str:
    field = _FIELDS[name]
    if field.is_repeated:
        texts = [auth_pb2.TopUp.Name(item).removeprefix(_TOP_UP).lower() if field.enum_type else item for item in value]
        return f"[{', '.join(map(_text, texts))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else str(value)


def _text(text: str) -> str:
    """A basic string: TOML has JSON's escapes (https://toml.io/en/v1.0.0#string), and one more character to escape."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _name(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").isalnum() else _text(key)
