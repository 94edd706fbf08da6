"""Answers of Anthropic's Messages API, plain and streamed, as far as translations read them. Pure.

https://docs.anthropic.com/en/api/messages and .../messages-streaming
"""

from typing import Final, Literal

import msgspec


class Count(msgspec.Struct):
    """Usage; what was not said is None."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class Block(msgspec.Struct):
    """A block of content, of any type."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class Message(msgspec.Struct):
    """A plain answer."""

    type: Literal["message"]
    content: list[Block]
    stop_reason: str | None = None
    usage: Count | None = None


class Delta(msgspec.Struct):
    """What changes: of a block, or of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class Start(msgspec.Struct):
    """The message of `message_start`."""

    usage: Count | None = None


class Error(msgspec.Struct):
    """What an error event says."""

    type: str = ""


class Event(msgspec.Struct):
    """An event of a stream, of any type."""

    type: str = ""
    message: Start | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: Count | None = None
    error: Error | None = None


decode_message: Final = msgspec.json.Decoder(Message).decode
decode_event: Final = msgspec.json.Decoder(Event).decode
