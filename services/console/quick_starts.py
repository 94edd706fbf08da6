"""Quick starts: the programs that people point at us, and what to paste into each. The texts are in
templates/quick_starts; tests run those that can be run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Snippet:
    """A text to copy: what it is called on the page, and its template."""

    title: str
    file: str


@dataclass(frozen=True, slots=True)
class Tool:
    """One program or language."""

    name: str
    label: str
    lead: str
    snippets: Sequence[Snippet]


TOOLS: Final = (
    Tool(
        "curl",
        "curl",
        "Nothing to install. Both APIs answer on the same key.",
        (Snippet("Anthropic Messages", "messages.sh"), Snippet("OpenAI Chat Completions", "chat.sh")),
    ),
    Tool(
        "python",
        "Python",
        "The official SDKs, with one line changed.",
        (
            Snippet("pip install anthropic", "anthropic.py"),
            Snippet("pip install openai", "openai.py"),
            Snippet("The same, streamed", "openai_stream.py"),
        ),
    ),
    Tool(
        "node",
        "Node",
        "The official SDKs, or the fetch that Node brings.",
        (
            Snippet("npm install @anthropic-ai/sdk", "anthropic.mjs"),
            Snippet("npm install openai", "openai.mjs"),
            Snippet("Without an SDK, streamed", "fetch.mjs"),
        ),
    ),
    Tool(
        "claude-code",
        "Claude Code",
        "Set these where you start it, or under env in ~/.claude/settings.json.",
        (Snippet("Shell", "claude_code.sh"), Snippet("~/.claude/settings.json", "claude_code.json")),
    ),
    Tool(
        "codex",
        "Codex",
        "A provider of its own in the configuration, and the key in the environment.",
        (Snippet("~/.codex/config.toml", "codex.toml"), Snippet("Shell", "codex.sh")),
    ),
    Tool(
        "cursor",
        "Cursor",
        "Under Settings, Models, API keys. Then add the model by its name and turn it on.",
        (Snippet("OpenAI API key", "cursor_key.txt"), Snippet("Override OpenAI base URL", "cursor_url.txt")),
    ),
    Tool(
        "openai",
        "Other programs",
        "Whatever reads these variables, as the OpenAI and Anthropic SDKs do, works without a change to its code.",
        (Snippet("OpenAI SDKs", "openai_environment.sh"), Snippet("Anthropic SDKs", "anthropic_environment.sh")),
    ),
)


def tool_named(name: str) -> Tool:
    """The tool of this name; the first one where there is none."""
    return next((tool for tool in TOOLS if tool.name == name), TOOLS[0])


def without_version(base_url: str) -> str:
    """What Anthropic's SDKs call the base URL: they add /v1 themselves."""
    return base_url.removesuffix("/v1")
