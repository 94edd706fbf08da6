"""Input of OpenAI's Responses API, item by item, and the pairs that tools' calls and results have to be. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.simulator import fields as of
from services.simulator import openai_fields as openai
from services.simulator.asked import Call, Invalid, Result, Turn, signature

_PARTS: Final = {
    "user": ("input_text", "input_image", "input_file", "input_audio"),
    "system": ("input_text", "input_image", "input_file"),
    "developer": ("input_text", "input_image", "input_file"),
    "assistant": ("output_text", "refusal"),
}
_PROVIDERS_OWN: Final = frozenset(
    (
        *("web_search_call", "file_search_call", "computer_call", "computer_call_output", "image_generation_call"),
        *("code_interpreter_call", "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output"),
        *("apply_patch_call", "apply_patch_call_output", "mcp_list_tools", "mcp_approval_request", "mcp_call"),
        *("mcp_approval_response", "tool_search_call", "tool_search_output", "additional_tools", "compaction"),
    )
)
"""Items of tools that OpenAI runs, and of its sessions: taken as they are."""

Item = dict[str, Any]


def read_items(value: Any, called: frozenset[str]) -> tuple[list[Turn], list[str]]:
    """Input as turns, and its texts in order; `called` are the calls of the previous response. Raises Invalid."""
    if isinstance(value, str):
        _check_tools([], called)
        return [Turn("user", texts=(value,))], [value]
    if value is None:
        raise openai.missing("input")
    items = of.objects(value)
    if items is None:
        raise openai.invalid_type("input", "a string or an array of objects")
    turns, texts = [], list[str]()
    for index, item in enumerate(items):
        turn = _turn(f"input[{index}]", item)
        if turn is not None:
            turns.append(turn)
            texts += [*turn.texts, *(result.text for result in turn.results)]
    _check_tools(items, called)
    return turns, texts


def _turn(where: str, item: Item) -> Turn | None:
    kind = item.get("type", "message")
    if not isinstance(kind, str) or kind not in _BY_TYPE.keys() | _PROVIDERS_OWN:
        raise openai.invalid_value(f"{where}.type", f"'{kind}' is not supported")
    return _BY_TYPE[kind](where, item) if kind in _BY_TYPE else None


def _message(where: str, item: Item) -> Turn:
    role = item.get("role")
    if not isinstance(role, str) or role not in _PARTS:
        raise openai.invalid_value(f"{where}.role", f"must be one of {', '.join(_PARTS)}")
    if isinstance(item.get("content"), str):
        return Turn(role, texts=(item["content"],))
    return _content(f"{where}.content", item.get("content"), role, _PARTS[role])


def _content(where: str, content: Any, role: str, allowed: tuple[str, ...]) -> Turn:
    """What a list of parts holds, as a turn."""
    parts = of.objects(content)
    if parts is None:
        raise openai.invalid_type(where, "one of a string or an array of objects")
    texts, images, files = list[str](), list[str](), list[str]()
    for place, part in enumerate(parts):
        here = f"{where}[{place}]"
        kind = part.get("type")
        if kind not in allowed:
            raise openai.invalid_value(f"{here}.type", f"'{kind}'. Supported values are: {', '.join(allowed)}")
        if kind == "input_image":
            images.append(
                "id" if part.get("file_id") else openai.check_image(f"{here}.image_url", part.get("image_url"))
            )
        elif kind == "input_file":
            files.append(_file(here, part))
        elif kind != "input_audio":
            name = "refusal" if kind == "refusal" else "text"
            if not isinstance(part.get(name), str):
                raise openai.missing(f"{here}.{name}")
            texts.append(part[name])
    return Turn(role, texts=tuple(texts), images=tuple(images), files=tuple(files))


def _file(where: str, part: Item) -> str:
    """A file's media type, or `id`, or `url`. https://platform.openai.com/docs/guides/pdf-files"""
    if isinstance(part.get("file_id"), str):
        return "id"
    if of.is_web(part.get("file_url")):
        return "url"
    media_type, data = of.data_url(part["file_data"]) if isinstance(part.get("file_data"), str) else ("", "")
    if not media_type or not of.is_base64(data):
        raise openai.invalid_value(f"{where}.file_data", "expected a base64-encoded data URL")
    if not isinstance(part.get("filename"), str):
        raise openai.missing(f"{where}.filename")
    return media_type


def _call(where: str, item: Item) -> Turn:
    given = "arguments" if item["type"] == "function_call" else "input"
    for name in ("call_id", given):
        if not isinstance(item.get(name), str):
            raise openai.missing(f"{where}.{name}")
    openai.check_name(f"{where}.name", item.get("name"))
    return Turn("assistant", calls=(Call(item["call_id"], item["name"], item[given]),))


def _output(where: str, item: Item) -> Turn:
    output = item.get("output")
    if not isinstance(item.get("call_id"), str):
        raise openai.missing(f"{where}.call_id")
    if isinstance(output, str):
        return Turn("tool", results=(Result(item["call_id"], output),))
    told = _content(f"{where}.output", output, "tool", _PARTS["system"])
    return Turn("tool", results=(Result(item["call_id"], "\n".join(told.texts), told.images),))


def _reasoning(where: str, item: Item) -> Turn:
    summary = of.objects(item.get("summary"))
    if summary is None:
        raise openai.missing(f"{where}.summary")
    return Turn("assistant", thoughts=tuple(str(part.get("text", "")) for part in summary))


def _reference(where: str, item: Item) -> Turn:
    raise Invalid(f"Item with id '{item.get('id')}' not found.", "input", None, status=404)


_BY_TYPE: Final[Mapping[str, Callable[[str, Item], Turn]]] = {
    "message": _message,
    "function_call": _call,
    "custom_tool_call": _call,
    "function_call_output": _output,
    "custom_tool_call_output": _output,
    "reasoning": _reasoning,
    "item_reference": _reference,
}
_OUTPUTS: Final = {"function_call_output": "function call", "custom_tool_call_output": "custom tool call"}
_CALLS: Final = {"function_call": "function call", "custom_tool_call": "custom tool call"}


def _check_tools(items: list[Item], called: frozenset[str]) -> None:
    """Each result has its call before it, here or in the previous response, and each call its result behind it."""
    made: dict[str, str] = {}
    answered: set[str] = set()
    for item in items:
        kind = item.get("type")
        if kind in _CALLS:
            made[item["call_id"]] = _CALLS[kind]
        elif kind in _OUTPUTS:
            id_, what = item["call_id"], _OUTPUTS[kind]
            if made.get(id_) != what and id_ not in called:
                raise Invalid(f"No tool call found for {what} output with call_id {id_}.", "input")
            answered.add(id_)
    for id_, what in [*made.items(), *((id_, "function call") for id_ in sorted(called))]:
        if id_ not in answered:
            raise Invalid(f"No tool output found for {what} {id_}.", "input")


def encrypted(thought: str) -> str:
    """A thought as only the provider can read it again; here in plain sight, and signed."""
    return f"gAAAA{thought.encode('utf-8').hex()}.{signature(thought)}"


def _is_ours(content: str) -> bool:
    text, _, signed = content.removeprefix("gAAAA").partition(".")
    try:
        return signed == signature(bytes.fromhex(text).decode())
    except ValueError:
        return False


def thoughts(value: Any) -> tuple[Invalid | None, Invalid | None]:
    """The refusal of the first thought that the simulator did not encrypt, and of the first encrypted one at all."""
    first: Invalid | None = None
    for item in value if isinstance(value, list) else ():
        content = item.get("encrypted_content")
        if item.get("type") != "reasoning" or not isinstance(content, str):
            continue
        refused = Invalid(
            f"The encrypted content for item {item.get('id')} could not be verified.",
            "input",
            "invalid_encrypted_content",
        )
        first = first or refused
        if not _is_ours(content):
            return refused, first
    return None, first
