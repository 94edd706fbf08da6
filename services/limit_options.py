"""Limits on the command line: the options that say them, and how they are shown."""

import argparse
from collections.abc import Iterable
from typing import Final

from tollhouse.v1 import types_pb2

_METRICS: Final = {
    types_pb2.LimitMetric.Name(number).removeprefix("LIMIT_METRIC_").lower(): number
    for number in types_pb2.LimitMetric.values()
    if number
}
_COUNTED: Final = {
    "requests": "requests a minute",
    "tokens": "tokens a minute, of input and output together",
    "input_tokens": "input tokens a minute",
    "output_tokens": "output tokens a minute",
    "concurrent": "requests at a time",
}
_NONE: Final = "none"


def add_limit_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of limits to a command."""
    for metric, counted in _COUNTED.items():
        option = f"--{metric.replace('_', '-')}"
        command.add_argument(option, metavar="N", help=f'at most so many {counted}; "none" for no such limit')
    command.add_argument(
        "--model-limit",
        action="append",
        default=[],
        metavar="MODEL:METRIC=N",
        help="a limit for one model only, such as claude-opus-4-6:requests=5; may be given several times",
    )


def changed(limits: Iterable[types_pb2.Limit], arguments: argparse.Namespace) -> list[types_pb2.Limit]:
    """Limits as the options change them: what none of them names stays. Raises ValueError."""
    amounts = {(limit.metric, limit.model): limit.amount for limit in limits}
    said = [(metric, "", text) for metric in _METRICS if (text := getattr(arguments, metric)) is not None]
    for metric, model, text in [*said, *map(_of_a_model, arguments.model_limit)]:
        amounts.pop((_METRICS[metric], model), None)
        if text != _NONE:
            amounts[_METRICS[metric], model] = _amount(text)
    return [types_pb2.Limit(metric=metric, model=model, amount=amount) for (metric, model), amount in amounts.items()]


def shown(limits: Iterable[types_pb2.Limit]) -> str:
    """Limits for people; "-" for none."""
    names = {number: name.replace("_", " ") for name, number in _METRICS.items()}
    texts = [
        f"{f'{limit.model}: ' if limit.model else ''}{limit.amount} {names[limit.metric]}"
        for limit in sorted(limits, key=lambda limit: (limit.model, limit.metric))
    ]
    return ", ".join(texts) or "-"


def _of_a_model(text: str) -> tuple[str, str, str]:
    """Metric, model and amount of MODEL:METRIC=N; a model may hold a colon, a metric does not."""
    named, _, amount = text.rpartition("=")
    model, _, metric = named.rpartition(":")
    metric = metric.replace("-", "_")
    if not model or metric not in _METRICS:
        raise ValueError(f"{text!r} is not MODEL:METRIC=N, with a METRIC of {', '.join(_METRICS)}")
    return metric, model, amount


def _amount(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is neither a whole number nor {_NONE!r}")
    return int(text)
