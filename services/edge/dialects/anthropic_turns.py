"""The conversation of a Messages request, put together. Pure.

https://docs.anthropic.com/en/api/messages
"""

from typing import Final

Block = dict[str, object]

THINKING: Final = frozenset(("thinking", "redacted_thinking"))
"""Types of the blocks that hold what was thought."""


class Turns:
    """Messages, as items come in; what one role says in a row is one message."""

    def __init__(self) -> None:
        self.messages: list[Block] = []
        self._blocks: list[Block] = []
        self._results = 0

    def add(self, role: str, blocks: list[Block]) -> None:
        """Adds to the last message, or begins one."""
        if not blocks:
            return
        self._turn(role)
        self._blocks += blocks

    def add_result(self, block: Block) -> None:
        """The results of tools come before everything else that is in a message."""
        self._turn("user")
        self._blocks.insert(self._results, block)
        self._results += 1

    def _turn(self, role: str) -> None:
        if not self.messages or self.messages[-1]["role"] != role:
            self._blocks, self._results = [], 0
            self.messages.append({"role": role, "content": self._blocks})


def says_something(block: Block) -> bool:
    """Whether a block may stand in a message: the API refuses text that is nothing but white space, which some models
    write before they call tools."""
    text = block.get("text")
    return not isinstance(text, str) or bool(text.strip())


def end_without_space(messages: list[Block]) -> None:
    """Where the client wrote the beginning of the answer: the API refuses one that ends with white space."""
    content = messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else None
    if isinstance(content, list) and content[-1]["type"] == "text":
        content[-1] = {**content[-1], "text": content[-1]["text"].rstrip()}


def without_last_thoughts(message: Block) -> Block:
    """A turn that was interrupted while the model thought: the API refuses a message that ends with thinking."""
    content = message["content"]
    if message["role"] != "assistant" or not isinstance(content, list):
        return message
    length = len(content)
    while length and content[length - 1]["type"] in THINKING:
        length -= 1
    return {**message, "content": content[:length]}


def mid_loop_without_thinking(messages: list[Block]) -> bool:
    """Whether the model is to go on from results of tools that it called without having thought."""
    last = messages[-1]["content"]
    if len(messages) < 2 or not isinstance(last, list) or last[0]["type"] != "tool_result":
        return False
    before = messages[-2]["content"]
    return isinstance(before, list) and before[0]["type"] not in THINKING
