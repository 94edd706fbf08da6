"""What an answer says and uses, before any API's form is given to it. Pure."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from services.simulator import schemas
from services.simulator.asked import Asked, Result, Tool, echo
from services.simulator.script import Script
from services.simulator.tokens import Counts

_DEFAULT_TOKENS: Final = 40
_BYTES_PER_TOKEN: Final = 4
_PIECE: Final = 24
_FIRST_PIECES: Final = (1, 7, 7, 7, 7, 7, 7, 7)
_LATER_PIECES: Final = 200
# What a careless relay breaks on: not ASCII, a line separator that is no newline, quotes, the protocol's own words.
_ODD: Final = (" naïve", " \u2028", " 😀", ' "usage":', " \\", " data: x\n\n", " 東京")
_DEFAULT_TOOL: Final = Tool("get_weather")


class Called(NamedTuple):
    """A tool call that the answer makes."""

    name: str
    arguments: str
    custom: bool = False

    def pieces(self) -> Iterator[str]:
        """The arguments as a stream brings them: short pieces first, which part what belongs together."""
        begin = 0
        for length in itertools.chain(_FIRST_PIECES, itertools.repeat(_LATER_PIECES)):
            if begin >= len(self.arguments):
                return
            yield self.arguments[begin : begin + length]
            begin += length


@dataclass(frozen=True)
class Said:
    """An answer: thoughts, then text, then tool calls; `counts` is what it uses, and `cut` that it met its limit.

    `written` are the pieces of a text that is more than words without a meaning; `free` answers use nothing.
    """

    counts: Counts
    thoughts: int = 0
    words: int = 0
    written: tuple[str, ...] | None = None
    calls: tuple[Called, ...] = ()
    cut: bool = False
    free: bool = False

    @property
    def used(self) -> Counts:
        """What is charged."""
        return Counts() if self.free else self.counts

    def pieces(self) -> Iterator[str]:
        """The text, a token each."""
        return words(self.words) if self.written is None else iter(self.written)

    @property
    def text(self) -> str:
        """The text as a whole."""
        return "".join(self.pieces())

    @property
    def thought(self) -> str:
        """The thoughts as a whole."""
        return "".join(words(self.thoughts))


def words(count: int) -> Iterator[str]:
    """So many words without a meaning, always the same ones."""
    for number in range(count):
        yield _ODD[number // 5 % len(_ODD)] if number % 5 == 2 else f" tok{number:04d}"


def plan(asked: Asked, script: Script, *, thoughts_count: bool = False) -> Said:
    """What an answer in full says and uses. OpenAI counts thoughts as output and limits both together."""
    limit = asked.max_tokens
    spent = script.thinking if thoughts_count else 0
    if limit is not None:
        spent = min(spent, limit)
    written = _written(asked, script)
    wanted = (script.tokens or _DEFAULT_TOKENS) if written is None else len(written)
    length = wanted if limit is None else min(wanted, limit - spent)
    return Said(
        counts=Counts(
            input=_counted(asked.prompt) if script.input_tokens is None else script.input_tokens,
            output=(spent + length) * asked.copies,
            cache_read=script.cache_read,
            cache_write_5m=script.cache_write_5m,
            cache_write_1h=script.cache_write_1h,
        ),
        thoughts=spent if thoughts_count else script.thinking,
        words=length,
        written=None if written is None else written[:length],
        calls=_calls(asked, script),
        cut=spent + length == limit and (written is None or length < wanted),
    )


def _counted(prompt: str) -> int:
    return max(1, -(-len(prompt.encode("utf-8", "replace")) // _BYTES_PER_TOKEN))


def _written(asked: Asked, script: Script) -> tuple[str, ...] | None:
    """A text with a meaning, in pieces; None for words without one."""
    if script.echo:
        return _pieces(echo(asked))
    if asked.results and not asked.choice.forced:
        return _pieces("; ".join(map(_named, asked.results)))
    if asked.schema:
        return _pieces(msgspec.json.encode(schemas.specimen(asked.schema)).decode())
    if asked.json:
        return _pieces(msgspec.json.encode({"answer": "".join(words(script.tokens or _DEFAULT_TOKENS))}).decode())
    return None


def _named(result: Result) -> str:
    """A tool's result, as the answer's text names it."""
    failed = " failed" if result.error else ""
    images = "".join(f" [{image}]" for image in result.images)
    return f"{result.id}{failed}: {result.text}{images}"


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(text[begin : begin + _PIECE] for begin in range(0, len(text), _PIECE))


def _calls(asked: Asked, script: Script) -> tuple[Called, ...]:
    """As many as scripted in the first turn of a tool's use, none where the results are there; a forced one always."""
    count = 0 if asked.results or asked.choice.none else script.tool
    if asked.choice.forced:
        count = max(1, count)
    if asked.choice.single:
        count = min(1, count)
    tools = asked.tools or (_DEFAULT_TOOL,)
    if asked.choice.name:
        tools = tuple(tool for tool in tools if tool.name == asked.choice.name) or tools
    chosen = [tools[number % len(tools)] for number in range(count)]
    return tuple(Called(tool.name, _arguments(number, tool.custom), tool.custom) for number, tool in enumerate(chosen))


def _arguments(number: int, custom: bool) -> str:
    """What translations lose: escapes, wide characters, digits that a float would round, a long string, order."""
    text = f'"{number}" \\ / \t\r\n\u2028 naïve 東京 😀 </script>'
    if custom:
        return text + "x" * 500
    given = {
        "city": "東京",
        "usage": {"output_tokens": 999_999},
        "number": number,
        "text": text,
        "big": 2**53 + 1,
        "tenth": 0.1,
        "nothing": None,
        "list": [[], {}, [True, False]],
        "long": "x" * 1000,
    }
    return msgspec.json.encode(given).decode()
