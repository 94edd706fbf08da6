"""Prices: what tokens of each class cost, and how much to hold for a request before it is made."""

from dataclasses import dataclass

from services.shared.money import most_pico, nano_from_pico


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of each class; the classes do not overlap."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """One price row: pico-dollars a token for each class."""

    price_version: int
    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int

    def cost_nano(self, tokens: Tokens) -> int:
        """What these tokens cost, in nano-dollars, rounded once."""
        return nano_from_pico(
            tokens.input * self.input
            + tokens.output * self.output
            + tokens.cache_read * self.cache_read
            + tokens.cache_write_5m * self.cache_write_5m
            + tokens.cache_write_1h * self.cache_write_1h
        )

    def hold_nano(self, input_tokens: int, output_tokens: int) -> int:
        """At most what a request can cost: every input token might be the dearest class of input."""
        return nano_from_pico(input_tokens * self.dearest_input + output_tokens * self.output)

    def affordable_output_tokens(self, input_tokens: int, available_nano: int) -> int:
        """How many output tokens `available_nano` pays for beside the input."""
        left_pico = most_pico(available_nano) - input_tokens * self.dearest_input
        return max(0, left_pico // self.output) if self.output else 0

    @property
    def dearest_input(self) -> int:
        """The highest rate that an input token can meet."""
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)
