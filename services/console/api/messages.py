"""Messages of the services as JSON, and their JSON Schemas. Pure.

Field names are those of the .proto. Numbers are numbers, 64-bit ones too: amounts of up to 9 million dollars in
nano-dollars are exact in every language. Enums are their names in lower case without what they all begin with, maps are
objects, bytes are hexadecimal, and an optional field that is not set is null.
"""

import functools
import operator
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar

from google.protobuf import message_factory
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)
Schema = dict[str, Any]

READ_ONLY: Final[dict[str, frozenset[str]]] = {
    "Tenant": frozenset({"tenant_id", "created_ms"}),
    "Key": frozenset({"key_id", "tenant_id", "hint", "created_ms", "brand", "revealable"}),
    "Plan": frozenset({"name"}),
    "Brand": frozenset({"name"}),
    "Pool": frozenset({"name", "models", "accounts"}),
    "Group": frozenset({"name"}),
    "Model": frozenset({"model", "created_ms"}),
    "UpstreamAccount": frozenset({"upstream_account_id", "name", "created_ms", "in_flight", "health"}),
    "Price": frozenset({"price_version"}),
}
"""What a caller may send back as it was read: it is not looked at."""
LIVE: Final[dict[str, frozenset[str]]] = {
    "UpstreamAccount": frozenset({"in_flight", "health"}),
    "Pool": frozenset({"models", "accounts"}),
}
"""What changes by itself, and so does not count for an ETag."""

_INTEGERS: Final = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


class Unreadable(ValueError):
    """Something that does not fit its field; `param` names it."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{param}: {why}" if param else why)
        self.param = param


def to_json(message: Message, *, live: bool = True) -> dict[str, Any]:
    """A message as an object with all its fields; without what changes by itself unless `live`."""
    left_out: Collection[str] = () if live else LIVE.get(message.DESCRIPTOR.name, ())
    return {name: told(message) for name, told in _told(message.DESCRIPTOR) if name not in left_out}


def from_json(cls: type[M], said: Any, hidden: Iterable[str] = (), path: str = "") -> M:
    """The message that an object says. Raises Unreadable for what is unknown, hidden or does not fit."""
    if not isinstance(said, dict):
        raise Unreadable(path, "an object is needed")
    message, descriptor = cls(), cls.DESCRIPTOR
    ignored = READ_ONLY.get(descriptor.name, frozenset())
    known = {field.name: field for field in _fields(descriptor) if field.name not in set(hidden)}
    for name, value in said.items():
        inside = f"{path}.{name}" if path else str(name)
        if name not in known:
            raise Unreadable(inside, "there is no such field")
        if name not in ignored and value is not None:
            _set(message, known[name], value, inside)
    return message


def schema(descriptor: Any, components: dict[str, Schema]) -> Schema:
    """A reference to a message's schema, which is added to the components with all that it refers to."""
    name = descriptor.name
    if name not in components:
        components[name] = {}  # first: messages may hold each other
        components[name] = object_schema(descriptor, components)
    return {"$ref": f"#/components/schemas/{name}"}


def object_schema(descriptor: Any, components: dict[str, Schema], hidden: Iterable[str] = ()) -> Schema:
    """The schema of a message, in place and without what is hidden."""
    left_out, read_only = set(hidden), READ_ONLY.get(descriptor.name, frozenset())
    properties = {}
    for field in _fields(descriptor):
        if field.name not in left_out:
            found = _field_schema(field, components)
            properties[field.name] = found | {"readOnly": True} if field.name in read_only else found
    return {"type": "object", "properties": properties, "additionalProperties": False}


def word_of(enum: EnumDescriptor, number: int) -> str:
    """A value of an enum as JSON says it; a number of another version as it is."""
    value = enum.values_by_number.get(number)
    return value.name.removeprefix(_prefix(enum)).lower() if value else str(number)


def number_of(enum: EnumDescriptor, word: Any, param: str) -> int:
    """The value that a word means. Raises Unreadable."""
    value = enum.values_by_name.get(_prefix(enum) + str(word).upper())
    if value is None or not isinstance(word, str):
        raise Unreadable(param, f"must be one of {', '.join(words_of(enum))}")
    return value.number


def words_of(enum: EnumDescriptor) -> list[str]:
    """Every word of an enum."""
    return [word_of(enum, value.number) for value in enum.values]


def _prefix(enum: EnumDescriptor) -> str:
    return "".join(f"_{char}" if char.isupper() else char for char in enum.name).lstrip("_").upper() + "_"


def _fields(descriptor: Any) -> list[FieldDescriptor]:
    """In their order. Their types differ between the implementations of protobuf."""
    return list(descriptor.fields)


def _of_map(field: FieldDescriptor) -> FieldDescriptor | None:
    """What a map's values are; None for what is no map."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


@functools.cache
def _told(descriptor: Any) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """How each field of a message is told. Found out once: a long list has thousands of messages of one kind."""
    return tuple((field.name, _teller(field)) for field in _fields(descriptor))


def _teller(field: FieldDescriptor) -> Callable[[Any], Any]:
    name, get, of = field.name, operator.attrgetter(field.name), _of_map(field)
    if of is not None:
        of_value = _scalar_teller(of) or _as_it_is
        return lambda message: {str(key): of_value(get(message)[key]) for key in sorted(get(message))}
    of_one = _scalar_teller(field)
    if field.is_repeated:
        return lambda message: [of_one(item) for item in get(message)] if of_one else list(get(message))
    of_it = of_one or _as_it_is
    if field.has_presence:
        return lambda message: of_it(get(message)) if message.HasField(name) else None
    return get if of_one is None else lambda message: of_it(get(message))


def _scalar_teller(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    """None for what is told as it is."""
    if field.message_type is not None:
        return to_json
    if field.enum_type is not None:
        return functools.cache(functools.partial(word_of, field.enum_type))
    return bytes.hex if field.type == FieldDescriptor.TYPE_BYTES else None


def _as_it_is(value: Any) -> Any:
    return value


def _set(message: Message, field: FieldDescriptor, value: Any, path: str) -> None:
    target, of = getattr(message, field.name), _of_map(field)
    if of is not None:
        if not isinstance(value, dict):
            raise Unreadable(path, "an object is needed")
        for key, item in value.items():
            target[key] = _scalar_in(of, item, f"{path}.{key}")
    elif field.is_repeated:
        if not isinstance(value, list):
            raise Unreadable(path, "an array is needed")
        target.extend(_scalar_in(field, item, f"{path}[{index}]") for index, item in enumerate(value))
    elif field.message_type is not None:
        target.CopyFrom(_scalar_in(field, value, path))
    else:
        setattr(message, field.name, _scalar_in(field, value, path))


def _scalar_in(field: FieldDescriptor, value: Any, path: str) -> Any:
    if field.message_type is not None:
        return from_json(message_factory.GetMessageClass(field.message_type), value, path=path)
    if field.enum_type is not None:
        return number_of(field.enum_type, value, path)
    if field.type in _INTEGERS:
        least, most = _INTEGERS[field.type]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Unreadable(path, f"an integer from {least} to {most} is needed")
    elif field.type == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            raise Unreadable(path, "true or false is needed")
    elif not isinstance(value, str):
        raise Unreadable(path, "a string is needed")
    elif any(char == "\x00" or "\ud800" <= char <= "\udfff" for char in value):
        raise Unreadable(path, "holds a character that no text has")
    return value


def _field_schema(field: FieldDescriptor, components: dict[str, Schema]) -> Schema:
    of = _of_map(field)
    if of is not None:
        return {"type": "object", "additionalProperties": _scalar_schema(of, components)}
    inner = _scalar_schema(field, components)
    if field.is_repeated:
        return {"type": "array", "items": inner}
    if not field.has_presence:
        return inner
    if "type" in inner and "enum" not in inner:
        return inner | {"type": [inner["type"], "null"]}
    return {"anyOf": [inner, {"type": "null"}]}


def _scalar_schema(field: FieldDescriptor, components: dict[str, Schema]) -> Schema:
    if field.message_type is not None:
        return schema(field.message_type, components)
    if field.enum_type is not None:
        return {"type": "string", "enum": words_of(field.enum_type)}
    if field.type in _INTEGERS:
        return {"type": "integer"} | ({"minimum": 0} if _INTEGERS[field.type][0] == 0 else {})
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    return {"type": "number" if field.type == FieldDescriptor.TYPE_DOUBLE else "string"}
