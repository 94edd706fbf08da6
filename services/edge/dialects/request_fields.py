"""How fields of a client's request are read, and refused by their names, whatever the API. Pure."""

from typing import Final, NoReturn, TypeVar

import msgspec

from services.shared.errors import Kind, Refusal

_NOTHING: Final = msgspec.Raw(b"")
_NULL: Final = msgspec.Raw(b"null")
_T = TypeVar("_T")


def refuse(field: str, why: str) -> NoReturn:
    """Raises the Refusal that names a field of the client's."""
    raise Refusal(Kind.INVALID_REQUEST, f"{field}: {why}", param=field)


def decode(raw: bytes, type_: type[_T], field: str) -> _T:
    """Reads one value of the body. Raises Refusal that names the field, down to the member that is wrong."""
    try:
        return msgspec.json.decode(raw, type=type_)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$")
        where = (field + path.rstrip("`")).lstrip(".")
        if sentence.startswith("Object missing required field"):
            missing = sentence.split("`")[1]
            refuse(f"{where}.{missing}".lstrip("."), "field is required")
        refuse(where or "body", sentence[:1].lower() + sentence[1:])
    except RecursionError:
        refuse(field or "body", "is nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse(field or "body", f"is not valid JSON: {error}")


def is_given(raw: msgspec.Raw) -> bool:
    """Whether a field that is read later was sent, and is not null."""
    return raw not in (_NOTHING, _NULL)


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 text of a data URL; None for any other URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head.removeprefix("data:").split(";")[0], data
