"""What operators type, as the services take it, and the other way round. Pure; raises ValueError with a sentence."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from services.shared import clock, money
from tollhouse.v1 import types_pb2

_MILLION: Final = 1_000_000
METRICS: Final = {
    "requests": types_pb2.LIMIT_METRIC_REQUESTS,
    "tokens": types_pb2.LIMIT_METRIC_TOKENS,
    "input_tokens": types_pb2.LIMIT_METRIC_INPUT_TOKENS,
    "output_tokens": types_pb2.LIMIT_METRIC_OUTPUT_TOKENS,
    "concurrent": types_pb2.LIMIT_METRIC_CONCURRENT,
}
"""What a line of limits begins with."""
_METRIC_NAMES: Final = {number: name for name, number in METRICS.items()}
_SPOKEN: Final = {
    "requests": "requests/min",
    "tokens": "tokens/min",
    "input_tokens": "input tokens/min",
    "output_tokens": "output tokens/min",
    "concurrent": "at a time",
}


def pairs(text: str, between: str = "=") -> dict[str, str]:
    """Lines of a name and a value; a name alone stands for itself twice."""
    found: dict[str, str] = {}
    for line in lines(text):
        name, mark, value = (part.strip() for part in line.partition(between))
        if not name or (mark and not value):
            raise ValueError(f"“{line}” has nothing on one side of “{between}”.")
        if name in found:
            raise ValueError(f"“{name}” stands there twice.")
        found[name] = value or name
    return found


def pair_lines(values: Mapping[str, str], between: str = "=", *, fold: bool = False) -> str:
    """Names and values as lines; with `fold` a name alone where its value is the same."""
    return "\n".join(
        name if fold and values[name] == name else f"{name}{between}{values[name]}" for name in sorted(values)
    )


def lines(text: str) -> list[str]:
    """Lines that hold something, without blanks around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def whole(text: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number; nothing is 0."""
    plain = text.strip().replace(",", "").replace("_", "") or "0"
    sign = plain.removeprefix("-")
    if not (sign.isascii() and sign.isdigit()) or len(sign) > 18:
        raise ValueError("That is not a whole number.")
    value = int(plain)
    if not least <= value <= most:
        raise ValueError(f"From {least:,} to {most:,}.")
    return value


def limits(text: str) -> list[types_pb2.Limit]:
    """Limits, a line each: what is counted, how much, and the model where it is for one only."""
    found = []
    for line in lines(text):
        name, _, rest = line.partition(" ")
        amount, _, model = rest.strip().partition(" ")
        if name not in METRICS:
            raise ValueError(f"“{name}” is none of {', '.join(METRICS)}.")
        try:
            number = whole(amount, most=10**15) if amount else -1
        except ValueError:
            number = -1
        if number < 0:
            raise ValueError(f"“{line}” needs a whole number after “{name}”.")
        found.append(types_pb2.Limit(metric=METRICS[name], amount=number, model=model.strip()))
    return found


def limit_lines(given: Iterable[types_pb2.Limit]) -> str:
    """Limits as `limits` reads them."""
    return "\n".join(f"{_METRIC_NAMES[limit.metric]} {limit.amount} {limit.model}".strip() for limit in given)


def limits_spoken(given: Iterable[types_pb2.Limit]) -> list[str]:
    """Limits for people, such as `60 requests/min`."""
    return [
        f"{limit.amount:,} {_SPOKEN[_METRIC_NAMES[limit.metric]]}" + (f" of {limit.model}" if limit.model else "")
        for limit in given
    ]


def nano(text: str) -> int:
    """Dollars as nano-dollars, above 0."""
    try:
        value = money.nano_from_dollars(text)
    except ValueError:
        raise ValueError("That is not an amount in dollars, such as 25 or 0.50.") from None
    if value <= 0:
        raise ValueError("More than 0.")
    return value


def rate(text: str) -> int:
    """Dollars for a million tokens as pico-dollars a token; nothing is 0."""
    try:
        value = money.pico_from_dollars_a_million(text.strip() or "0")
    except ValueError:
        raise ValueError("That is not a price in dollars, such as 3 or 0.80.") from None
    if value < 0:
        raise ValueError("Not below 0.")
    return value


def dollars_a_million(pico: int) -> str:
    """Pico-dollars a token as dollars for a million tokens: "3", "0.8"."""
    whole_part, part = divmod(pico, money.PICO_A_TOKEN_PER_DOLLAR_A_MILLION)
    return f"{whole_part}.{part:06d}".rstrip("0").rstrip(".")


def dollars_a_request(pico: int) -> str:
    """Pico-dollars a request as dollars."""
    return dollars_a_million(pico // _MILLION) if pico % _MILLION == 0 else f"{pico / 10**12:.12f}".rstrip("0")


def request_rate(text: str) -> int:
    """Dollars a request as pico-dollars; nothing is 0."""
    return rate(text) * _MILLION


def moment_ms(text: str) -> int:
    """A moment of UTC as a browser's field gives it, as Unix milliseconds; nothing is 0, which means now."""
    if not text.strip():
        return 0
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("That is not a moment, such as 2030-01-31T09:00.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    at_ms = int(at.timestamp() * clock.MS_PER_S)
    if at_ms <= clock.now_ms():
        raise ValueError("That moment is over.")
    return at_ms


def ppm(text: str) -> int:
    """A factor such as 0.8, or percent such as 80%, in millionths."""
    plain = text.strip()
    scale = 100 if plain.endswith("%") else 1
    try:
        millionths = money.pico_from_dollars_a_million(plain.removesuffix("%").strip())
    except ValueError:
        raise ValueError("That is no factor, such as 0.8 or 80%.") from None
    if millionths % scale or not 0 < millionths // scale <= 100 * _MILLION:
        raise ValueError("Above 0, at most 100, with six decimals at most.")
    return millionths // scale


def percent(part: int, whole_amount: int) -> str:
    """A share, such as `37.5 %`; a dash of nothing."""
    return f"{100 * part / whole_amount:.1f} %" if whole_amount else "–"
