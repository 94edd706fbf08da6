"""Tokens by class: what a request used, whichever API it was made through. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Tokens of each class; `input` is what was neither read from the cache nor written to it."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def cache_write(self) -> int:
        """Tokens written to the cache, for however long."""
        return self.cache_write_5m + self.cache_write_1h

    @property
    def prompt(self) -> int:
        """All that went in: OpenAI counts the cache's tokens among the prompt's, Anthropic beside them.

        https://platform.openai.com/docs/guides/prompt-caching
        """
        return self.input + self.cache_read + self.cache_write
