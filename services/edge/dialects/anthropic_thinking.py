"""Thinking of Anthropic's Messages API for clients of another API: how much of it is asked for, and how it travels
through a client that sends reasoning back as one opaque string. Pure.

https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking and .../adaptive-thinking
"""

import base64
import binascii
import re
from typing import Final

import msgspec

Block = dict[str, object]

_SEAL: Final = "tollhouse.anthropic.1."
"""Begins what was made here, so that another maker's reasoning is never sent to Anthropic."""
_VERSION: Final = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2})(?!\d))?(?!\d)|claude-(\d)-(\d)-")
_BUDGET_MIN: Final = 1024
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_ADAPTIVE_SINCE: Final = (4, 6)
_XHIGH_SINCE: Final = (4, 7)
_THINKING_SINCE: Final = (3, 7)
EFFORTS: Final = frozenset(("none", *_EFFORTS))
"""What a client may ask for."""


class Thinking(msgspec.Struct, frozen=True):
    """The fields of a Messages request that ask for thinking. `budgeted`: with a fixed budget, which the API does
    not allow together with some other fields."""

    thinking: Block | None = None
    effort: str | None = None

    @property
    def budgeted(self) -> bool:
        return self.thinking is not None and self.thinking["type"] == "enabled"


def asked(effort: str | None, model: str, max_tokens: int, *, shown: bool) -> Thinking:
    """What to ask a model for. Without an effort, or with `none`, the model does what it does by itself. Models since
    4.6 decide how much they think (`adaptive`), those before are given a budget, which must be under max_tokens; the
    first to think was 3.7."""
    if effort is None or effort not in _EFFORTS:
        return Thinking()
    version = _version(model)
    if version is None or version >= _ADAPTIVE_SINCE:
        told = "high" if effort == "xhigh" and version is not None and version < _XHIGH_SINCE else _EFFORTS[effort]
        adaptive: Block = {"type": "adaptive", "display": "summarized" if shown else "omitted"}
        return Thinking(adaptive, told)
    budget = min(_BUDGETS[effort], max_tokens // 2)
    if version < _THINKING_SINCE or budget < _BUDGET_MIN:
        return Thinking()
    return Thinking({"type": "enabled", "budget_tokens": budget})


def _version(model: str) -> tuple[int, int] | None:
    """4.5 of claude-sonnet-4-5-20250929; None of a name that does not say."""
    found = _VERSION.search(model)
    if found is None:
        return None
    major, minor = (found[1], found[2]) if found[1] else (found[3], found[4])
    return int(major), int(minor or 0)


def seal(blocks: list[Block]) -> str:
    """Thinking blocks, signatures and all, as one string of ASCII. Nothing in it is secret from whoever may read the
    answer, and nobody can change it unnoticed: Anthropic signs what was thought and checks it."""
    return _SEAL + base64.urlsafe_b64encode(msgspec.json.encode(blocks)).decode()


def unseal(text: str) -> list[Block]:
    """The blocks of `seal`; none of what somebody else made or what is damaged."""
    if not text.startswith(_SEAL):
        return []
    try:
        blocks = msgspec.json.decode(base64.urlsafe_b64decode(text[len(_SEAL) :]), type=list[dict[str, str]])
    except (ValueError, binascii.Error, RecursionError):
        return []
    return [kept for block in blocks if (kept := _kept(block))]


def _kept(block: dict[str, str]) -> Block | None:
    """Only thinking passes, with exactly its own fields: the string came from a client."""
    if block.get("type") == "redacted_thinking" and "data" in block:
        return {"type": "redacted_thinking", "data": block["data"]}
    if block.get("type") == "thinking" and "thinking" in block and block.get("signature"):
        return {"type": "thinking", "thinking": block["thinking"], "signature": block["signature"]}
    return None
