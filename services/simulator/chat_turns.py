"""Messages of OpenAI's Chat Completions, and the order that tools' calls and results have to keep. Pure."""

from typing import Any, Final

from services.simulator import fields as of
from services.simulator import openai_fields as openai
from services.simulator.asked import Call, Invalid, Result, Turn

_FIELDS: Final = {
    "developer": frozenset(("role", "content", "name")),
    "system": frozenset(("role", "content", "name")),
    "user": frozenset(("role", "content", "name")),
    "assistant": frozenset(
        ("role", "content", "name", "refusal", "audio", "tool_calls", "function_call", "annotations")
    ),
    "tool": frozenset(("role", "content", "tool_call_id")),
}
_PARTS: Final = {
    "developer": ("text",),
    "system": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text",),
}
_PART_FIELDS: Final = frozenset(
    ("type", "text", "image_url", "input_audio", "file", "refusal", "prompt_cache_breakpoint")
)

Message = dict[str, Any]


def read_turns(messages: Any, *, lenient: bool) -> tuple[list[Turn], list[str]]:
    """Messages as turns, and their texts in order; `lenient` to fields that OpenAI does not know. Raises Invalid."""
    if messages is None:
        raise openai.missing("messages")
    if not isinstance(messages, list):
        raise openai.invalid_type("messages", "an array of objects")
    if not messages:
        raise Invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        )
    turns, texts = [], list[str]()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise openai.invalid_type(where, "an object")
        if message.get("role") not in tuple(_FIELDS):
            raise openai.invalid_value(f"{where}.role", f"must be one of {', '.join(_FIELDS)}")
        if not lenient:
            openai.check_known(message, _FIELDS[message["role"]], f"{where}.")
        turn = _turn(where, message, lenient=lenient)
        turns.append(turn)
        texts += [*turn.texts, *(result.text for result in turn.results)]
    _check_tools(turns)
    return turns, texts


def _turn(where: str, message: Message, *, lenient: bool) -> Turn:
    role = message["role"]
    calls = _calls(f"{where}.tool_calls", message.get("tool_calls")) if role == "assistant" else ()
    told = _content(where, message, calls, lenient=lenient)
    if role != "tool":
        return Turn(role, texts=told.texts, images=told.images, files=told.files, calls=calls)
    if not isinstance(message.get("tool_call_id"), str):
        raise openai.missing(f"{where}.tool_call_id")
    return Turn(role, results=(Result(message["tool_call_id"], "\n".join(told.texts)),))


def _content(where: str, message: Message, calls: tuple[Call, ...], *, lenient: bool) -> Turn:
    """What a message says, as a turn without calls and results."""
    content, role = message.get("content"), message["role"]
    if isinstance(content, str):
        return Turn(role, texts=(content,))
    if content is None:
        if calls or message.get("refusal") or message.get("audio") or message.get("function_call"):
            return Turn(role)
        raise openai.invalid_type(f"{where}.content", "one of a string or an array of objects, but got null instead")
    parts = of.objects(content)
    if not parts:
        raise openai.invalid_type(f"{where}.content", "one of a string or an array of at least one object")
    texts, images, files = list[str](), list[str](), list[str]()
    for place, part in enumerate(parts):
        here = f"{where}.content[{place}]"
        if part.get("type") not in _PARTS[role]:
            raise openai.invalid_value(f"{here}.type", f"must be one of {', '.join(_PARTS[role])}")
        if not lenient:
            openai.check_known(part, _PART_FIELDS, f"{here}.")
        if part["type"] == "image_url":
            image = part.get("image_url")
            images.append(
                openai.check_image(f"{here}.image_url.url", image.get("url") if isinstance(image, dict) else None)
            )
        elif part["type"] == "file":
            files.append(_file(here, part.get("file")))
        elif part["type"] in ("text", "refusal"):
            if not isinstance(part.get(part["type"]), str):
                raise openai.missing(f"{here}.{part['type']}")
            texts.append(part[part["type"]])
    return Turn(role, texts=tuple(texts), images=tuple(images), files=tuple(files))


def _file(where: str, file: Any) -> str:
    """A file's media type, or `id`. https://platform.openai.com/docs/guides/pdf-files"""
    if not isinstance(file, dict):
        raise openai.missing(f"{where}.file")
    if isinstance(file.get("file_id"), str):
        return "id"
    media_type, data = of.data_url(file["file_data"]) if isinstance(file.get("file_data"), str) else ("", "")
    if not media_type or not of.is_base64(data):
        raise openai.invalid_value(f"{where}.file.file_data", "expected a base64-encoded data URL")
    if not isinstance(file.get("filename"), str):
        raise openai.missing(f"{where}.file.filename")
    return media_type


def _calls(where: str, value: Any) -> tuple[Call, ...]:
    if value is None:
        return ()
    calls = of.objects(value)
    if calls is None:
        raise openai.invalid_type(where, "an array of objects")
    if not calls:
        raise Invalid(
            f"Invalid '{where}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            where,
            "empty_array",
        )
    return tuple(_call(f"{where}[{index}]", call) for index, call in enumerate(calls))


def _call(where: str, call: Message) -> Call:
    if not isinstance(call.get("id"), str) or not call["id"]:
        raise openai.missing(f"{where}.id")
    kind = call.get("type")
    if kind not in ("function", "custom"):
        raise openai.invalid_value(f"{where}.type", "must be one of function, custom")
    told = call.get(kind)
    if not isinstance(told, dict):
        raise openai.missing(f"{where}.{kind}")
    openai.check_name(f"{where}.{kind}.name", told.get("name"))
    given = told.get("arguments" if kind == "function" else "input")
    if not isinstance(given, str):
        raise openai.invalid_type(f"{where}.{kind}.{'arguments' if kind == 'function' else 'input'}", "a string")
    return Call(call["id"], told["name"], given)


def _check_tools(turns: list[Turn]) -> None:
    """Each call is answered by tool messages right behind it, and nothing else is."""
    open_ids: list[str] = []
    called: set[str] = set()
    for index, turn in enumerate(turns):
        if turn.role == "tool":
            id_ = turn.results[0].id
            if id_ not in called:
                raise Invalid(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with"
                    " 'tool_calls'.",
                    f"messages.[{index}].role",
                )
            open_ids = [one for one in open_ids if one != id_]
            continue
        _check_answered(open_ids, f"messages.[{index}].role")
        open_ids = [call.id for call in turn.calls]
        called = set(open_ids)
    _check_answered(open_ids, f"messages.[{len(turns)}].role")


def _check_answered(open_ids: list[str], param: str) -> None:
    if open_ids:
        raise Invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
            f" 'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_ids)}",
            param,
        )
