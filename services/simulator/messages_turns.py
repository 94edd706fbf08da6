"""Messages of Anthropic's API, block by block, and the order that tools' calls and results have to keep. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from services.simulator import fields as of
from services.simulator.asked import Call, Invalid, Result, Turn, signature

_ROLES: Final = ("user", "assistant", "system")
_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_DOCUMENT_TYPES: Final = {"base64": ("application/pdf",), "text": ("text/plain",)}

Block = dict[str, Any]


def read_system(value: Any) -> tuple[Turn, ...]:
    """The field `system` as a turn; none without it. Raises Invalid."""
    if value is None or value == "":
        return ()
    texts = (value,) if isinstance(value, str) else tuple(_system_texts(value))
    return (Turn("system", texts=texts),)


def _system_texts(value: Any) -> list[str]:
    texts = []
    for index, block in enumerate(_blocks("system", value)):
        if block["type"] != "text":
            raise Invalid(f"system.{index}.type: Input should be 'text'")
        texts.append(_text(f"system.{index}", block))
    return texts


def read_turns(messages: Any, *, mid_system: bool) -> tuple[list[Turn], list[str]]:
    """Messages as turns, and their texts in order; `mid_system` allows system messages among them. Raises Invalid."""
    if not isinstance(messages, list) or not messages:
        raise Invalid("messages: a list of at least one message is required")
    turns, texts = [], list[str]()
    for index, one in enumerate(messages):
        if not isinstance(one, dict) or one.get("role") not in _ROLES:
            raise Invalid(f"messages.{index}.role: must be one of {', '.join(_ROLES)}")
        if one["role"] == "system" and index and not mid_system:
            raise Invalid(f'messages.{index}.role: Unexpected role "system". Use the top-level `system` parameter.')
        turns.append(_turn(index, one, texts))
    if messages[0]["role"] != "user":
        raise Invalid("messages.0.role: the first message must be the user's")
    _check_last(messages)
    _check_tools(messages)
    return turns, texts


def _turn(index: int, message: Block, texts: list[str]) -> Turn:
    content, role, where = message.get("content"), message["role"], f"messages.{index}"
    if isinstance(content, str):
        if not content.strip() and role != "assistant":
            raise Invalid(f"{where}.content: {role} messages must have non-empty content")
        texts.append(content)
        return Turn(role, texts=(content,))
    reading = _Reading(role, texts)
    for place, block in enumerate(_blocks(f"{where}.content", content)):
        reading.add(f"{where}.content.{place}", block)
    return reading.turn()


def _blocks(where: str, content: Any) -> list[Block]:
    if not isinstance(content, list):
        raise Invalid(f"{where}: must be a string or a list of blocks")
    if not content:
        raise Invalid(f"{where}: must have at least one block")
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise Invalid(f"{where}.{index}.type: every block is an object with a type")
    return content


def _text(where: str, block: Block) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise Invalid(f"{where}.text: Field required")
    if not text.strip():
        raise Invalid(f"{where}.text: text content blocks must be non-empty")
    return text


class _Reading:
    """The blocks of one message, read one after the other."""

    def __init__(self, role: str, texts: list[str]) -> None:
        self._role = role
        self._all_texts = texts
        self._texts: list[str] = []
        self._images: list[str] = []
        self._files: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[Call] = []
        self._results: list[Result] = []

    def add(self, where: str, block: Block) -> None:
        """Reads a block; types that the simulator does not know are taken, as today's clients send new ones."""
        read = _BY_TYPE.get(block["type"])
        if read is None:
            return
        role, reader = read
        if role and role != self._role:
            raise Invalid(f"{where}.type: `{block['type']}` blocks can only be in {role} messages")
        reader(self, where, block)

    def turn(self) -> Turn:
        """What was read."""
        return Turn(
            self._role,
            texts=tuple(self._texts),
            images=tuple(self._images),
            files=tuple(self._files),
            thoughts=tuple(self._thoughts),
            calls=tuple(self._calls),
            results=tuple(self._results),
        )

    def text(self, where: str, block: Block) -> None:
        self._texts.append(_text(where, block))
        self._all_texts.append(block["text"])

    def image(self, where: str, block: Block) -> None:
        self._images.append(_image(where, block))

    def document(self, where: str, block: Block) -> None:
        source = _source(where, block)
        allowed = _DOCUMENT_TYPES.get(source["type"])
        if allowed and source.get("media_type") not in allowed:
            raise Invalid(f"{where}.source.media_type: Input should be '{allowed[0]}'")
        if source["type"] == "base64" and not of.is_base64(source.get("data")):
            raise Invalid(f"{where}.source.base64.data: invalid base64 data")
        self._files.append(source.get("media_type") or source["type"])

    def thinking(self, where: str, block: Block) -> None:
        self._thoughts.append(str(block.get("thinking", "")))

    def call(self, where: str, block: Block) -> None:
        _check_id(f"{where}.id", block.get("id"))
        if not isinstance(block.get("name"), str) or not block["name"]:
            raise Invalid(f"{where}.name: Field required")
        if not isinstance(block.get("input"), dict):
            raise Invalid(f"{where}.input: Input should be a valid dictionary")
        self._calls.append(Call(block["id"], block["name"], msgspec.json.encode(block["input"]).decode()))

    def result(self, where: str, block: Block) -> None:
        _check_id(f"{where}.tool_use_id", block.get("tool_use_id"))
        if not isinstance(block.get("is_error", False), bool):
            raise Invalid(f"{where}.is_error: Input should be a valid boolean")
        content = block.get("content")
        inner = _Reading("user", self._all_texts)
        if isinstance(content, str):
            inner._texts.append(content)
            self._all_texts.append(content)
        elif content:
            for place, part in enumerate(_blocks(f"{where}.content", content)):
                inner.add(f"{where}.content.{place}", part)
        told = inner.turn()
        error = block.get("is_error", False)
        self._results.append(Result(block["tool_use_id"], "\n".join(told.texts), told.images, error))


_BY_TYPE: Final[Mapping[str, tuple[str, Callable[[_Reading, str, Block], None]]]] = {
    "text": ("", _Reading.text),
    "image": ("user", _Reading.image),
    "document": ("user", _Reading.document),
    "thinking": ("assistant", _Reading.thinking),
    "tool_use": ("assistant", _Reading.call),
    "tool_result": ("user", _Reading.result),
}


def _check_id(where: str, value: Any) -> None:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Invalid(f"{where}: String should match pattern '^[a-zA-Z0-9_-]+$'")


def _source(where: str, block: Block) -> Block:
    source = block.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("type"), str):
        raise Invalid(f"{where}.source: Field required")
    if source["type"] == "url" and not of.is_web(source.get("url")):
        raise Invalid(f"{where}.source.url.url: Only HTTPS URLs are supported.")
    return source


def _image(where: str, block: Block) -> str:
    """What of an image a test can check: its media type, or `url` or `file`."""
    source = _source(where, block)
    if source["type"] != "base64":
        return str(source["type"])
    if source.get("media_type") not in of.IMAGE_TYPES:
        raise Invalid(f"{where}.source.base64.media_type: Input should be one of {', '.join(of.IMAGE_TYPES)}")
    if not of.is_base64(source.get("data")):
        raise Invalid(f"{where}.source.base64.data: invalid base64 data")
    return str(source["media_type"])


def _listed(message: Block) -> list[Block]:
    """A message's blocks; none where its content is a string."""
    return message["content"] if isinstance(message["content"], list) else []


def _check_last(messages: list[Block]) -> None:
    last = messages[-1]
    if last["role"] != "assistant":
        return
    blocks = _listed(last)
    text = last["content"] if isinstance(last["content"], str) else blocks[-1].get("text", "")
    if text != text.rstrip():
        raise Invalid("messages: final assistant content cannot end with trailing whitespace")


def _check_tools(messages: list[Block]) -> None:
    """Each call is answered in the very next message, before anything else there, and nothing else is."""
    open_ids: list[str] = []
    asked, seen = 0, set[str]()
    for index, message in enumerate(messages):
        blocks = _listed(message)
        open_ids = _answered(index, blocks, open_ids, asked)
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(set(calls)) < len(calls) or not seen.isdisjoint(calls):
            raise Invalid(f"messages.{index}.content: `tool_use` ids must be unique")
        seen.update(calls)
        if calls:
            open_ids, asked = calls, index
    if open_ids:
        raise _unanswered(asked, open_ids)


def _answered(index: int, blocks: list[Block], open_ids: list[str], asked: int) -> list[str]:
    """What is open after a message: nothing."""
    results = [(place, block["tool_use_id"]) for place, block in enumerate(blocks) if block["type"] == "tool_result"]
    for place, id_ in results:
        if id_ not in open_ids:
            raise Invalid(
                f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {id_}. Each"
                " `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
    given = [id_ for _, id_ in results]
    if len(set(given)) < len(given):
        raise Invalid(f"messages.{index}.content: each tool_use must have a single result")
    if set(open_ids) - set(given):
        raise _unanswered(asked, [id_ for id_ in open_ids if id_ not in given])
    if results and results[-1][0] != len(results) - 1:
        raise Invalid(f"messages.{index}.content: `tool_result` blocks must come first in the message's content")
    return []


def _unanswered(index: int, ids: list[str]) -> Invalid:
    return Invalid(
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(ids)}."
        " Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def thoughts(messages: list[Block]) -> tuple[Invalid | None, Invalid | None]:
    """The refusal of the first thought that the simulator did not sign, and of the first one at all."""
    first: Invalid | None = None
    for index, message in enumerate(messages):
        for place, block in enumerate(_listed(message)):
            if block["type"] != "thinking":
                continue
            refused = Invalid(f"messages.{index}.content.{place}: Invalid `signature` in `thinking` block")
            first = first or refused
            if block.get("signature") != signature(str(block.get("thinking"))):
                return refused, first
    return None, first
