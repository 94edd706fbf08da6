"""Money: integers only. Balances and costs are nano-dollars, rates are pico-dollars a token.

One rounding, half up, here and nowhere else.
"""

import re
from decimal import Decimal, Inexact, localcontext
from typing import Final

NANO_PER_DOLLAR: Final = 1_000_000_000
NANO_PER_MICRO: Final = 1_000
PICO_PER_NANO: Final = 1_000
PICO_A_TOKEN_PER_DOLLAR_A_MILLION: Final = 1_000_000
"""A price of $1 for a million tokens is this many pico-dollars a token."""


LIST_PRICE_PPM: Final = 1_000_000
"""The multiplier, in millionths, that leaves a price as it is."""

# As people write amounts, so short that it is cheap to read: of 1e999990, which a decimal may be, an integer takes
# minutes to make.
_AMOUNT: Final = re.compile(r"\$?[+-]?[0-9]{0,40}\.?[0-9]{0,40}")
_SHOWN: Final = 40


def nano_from_pico(pico: int, multiplier_ppm: int = LIST_PRICE_PPM) -> int:
    """Pico-dollars times a multiplier in millionths to nano-dollars, half up. The only rounding that a charge sees."""
    scale = PICO_PER_NANO * LIST_PRICE_PPM
    return (pico * multiplier_ppm + scale // 2) // scale


def most_pico(nano: int, multiplier_ppm: int = LIST_PRICE_PPM) -> int:
    """The most pico-dollars that `nano_from_pico` makes `nano` of."""
    scale = PICO_PER_NANO * LIST_PRICE_PPM
    return (nano * scale + scale - scale // 2 - 1) // multiplier_ppm


def micro_from_nano(nano: int) -> int:
    """Nano-dollars to the micro-dollars that the public API shows, half up. For display: books stay in nano-dollars."""
    return (nano + NANO_PER_MICRO // 2) // NANO_PER_MICRO


def dollars(nano: int) -> str:
    """Nano-dollars as people write them: "$9.999", at least two decimals, never rounded."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, part = divmod(nano, NANO_PER_DOLLAR)
    decimals = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole}.{decimals}"


def rounded_dollars(nano: int) -> str:
    """Nano-dollars for a glance, half up: "$1,234.57", and "$0.0183" below ten cents. For display only."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    places = 2 if nano == 0 or nano >= NANO_PER_DOLLAR // 10 else 4
    unit = NANO_PER_DOLLAR // 10**places
    whole, part = divmod((nano + unit // 2) // unit, 10**places)
    return f"{sign}${whole:,}.{part:0{places}d}"


def nano_from_dollars(text: str) -> int:
    """What a person typed, such as "10" or "$0.25", as nano-dollars. Raises ValueError."""
    return _exact(text, NANO_PER_DOLLAR)


def pico_from_dollars_a_million(text: str) -> int:
    """A price for a million tokens, such as "3" or "0.80", as pico-dollars a token. Raises ValueError."""
    return _exact(text, PICO_A_TOKEN_PER_DOLLAR_A_MILLION)


def _exact(text: str, scale: int) -> int:
    if not _AMOUNT.fullmatch(text.strip()):
        raise ValueError(f"{text[:_SHOWN]!r} is not an amount in dollars")
    try:
        with localcontext() as exact:
            exact.traps[Inexact] = True
            value = Decimal(text.strip().removeprefix("$")) * scale
        whole = int(value)
    except (ArithmeticError, ValueError):
        raise ValueError(f"{text[:_SHOWN]!r} is not an amount in dollars") from None
    if whole != value:
        raise ValueError(f"{text[:_SHOWN]!r} has more decimals than are kept")
    return whole
