"""Prices: what tokens of each class cost, and how much to hold for a request before it is made."""

from dataclasses import dataclass
from typing import Final

import msgspec

from services.shared.money import LIST_PRICE_PPM, most_pico, nano_from_pico


class Tokens(msgspec.Struct, frozen=True):
    """Tokens of each class; the classes do not overlap."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    requests: int = 0
    """Answered requests, for models that are priced by the request."""


_MOST_PPM: Final = 1_000 * LIST_PRICE_PPM


def combined_ppm(*multipliers_ppm: int) -> int:
    """Multipliers of several scopes as one, in millionths, rounded half up once; from a millionth to a thousand."""
    product, scale = LIST_PRICE_PPM, 1
    for ppm in multipliers_ppm:
        product, scale = product * ppm, scale * LIST_PRICE_PPM
    return min(max(1, (product + scale // 2) // scale), _MOST_PPM)


@dataclass(frozen=True, slots=True)
class Rates:
    """One price row: pico-dollars a token for each class, and for each answered request. What it comes to is multiplied
    by `multiplier_ppm` millionths: what a brand, a plan or a group pays of the list price."""

    price_version: int
    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    request: int = 0
    multiplier_ppm: int = LIST_PRICE_PPM

    def cost_nano(self, tokens: Tokens) -> int:
        """What these tokens cost, in nano-dollars, rounded once."""
        return nano_from_pico(
            tokens.input * self.input
            + tokens.output * self.output
            + tokens.cache_read * self.cache_read
            + tokens.cache_write_5m * self.cache_write_5m
            + tokens.cache_write_1h * self.cache_write_1h
            + tokens.requests * self.request,
            self.multiplier_ppm,
        )

    def hold_nano(self, input_tokens: int, output_tokens: int) -> int:
        """At most what a request can cost: every input token might be the dearest class of input."""
        return nano_from_pico(
            input_tokens * self.dearest_input + output_tokens * self.output + self.request, self.multiplier_ppm
        )

    def affordable_output_tokens(self, input_tokens: int, available_nano: int) -> int:
        """How many output tokens `available_nano` pays for beside the input."""
        left_pico = most_pico(available_nano, self.multiplier_ppm) - input_tokens * self.dearest_input - self.request
        return max(0, left_pico // self.output) if self.output else 0

    @property
    def dearest_input(self) -> int:
        """The highest rate that an input token can meet."""
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)
