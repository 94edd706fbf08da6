"""What a policy says: the limits in force for a key, and the brand, plan and group that its prices depend on. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import DecodeError

from services.shared.errors import Kind, Refusal
from tollhouse.v1 import types_pb2

DEFAULT_GROUP: Final = "default"
MOST_LIMITS: Final = 32
"""In a plan, of a tenant's own, of a key's own."""
MOST_AMOUNT: Final = 10**12
_MODEL_LENGTH: Final = 200
_NAME: Final = re.compile(r"[a-z0-9._-]{1,63}")
_POLICIES: Final = 4_096
"""Decoded policies that are remembered: as many as differ, not one a key."""

_METRICS: Final[Mapping[int, str]] = {
    number: types_pb2.LimitMetric.Name(number).removeprefix("LIMIT_METRIC_").lower()
    for number in types_pb2.LimitMetric.values()
    if number
}
_BY_NAME: Final = {name: number for number, name in _METRICS.items()}


def metric_name(metric: int) -> str:
    """requests, tokens, input_tokens, output_tokens or concurrent."""
    return _METRICS[metric]


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit of a policy. Its counter is its subject's (the key or the tenant) under `source`, metric and model."""

    metric: int
    amount: int
    model: str
    of_key: bool
    source: str
    """Where the policy has it: a plan may be replaced by another, and what was used still counts."""
    scope: str
    """As refusals say it: tenant, key, or the plan's name."""

    @property
    def said(self) -> str:
        """The limit in words."""
        what, how = _WORDS[self.metric]
        what += "" if self.amount == 1 else "s"
        whose = f"of the {self.scope}" if self.scope == self.source else f"of plan {self.scope}"
        return f"the limit of {self.amount} {what} {how}{f' for {self.model}' if self.model else ''} {whose}"


_WORDS: Final[Mapping[int, tuple[str, str]]] = {
    types_pb2.LIMIT_METRIC_REQUESTS: ("request", "a minute"),
    types_pb2.LIMIT_METRIC_TOKENS: ("token", "a minute"),
    types_pb2.LIMIT_METRIC_INPUT_TOKENS: ("input token", "a minute"),
    types_pb2.LIMIT_METRIC_OUTPUT_TOKENS: ("output token", "a minute"),
    types_pb2.LIMIT_METRIC_CONCURRENT: ("request", "at a time"),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy comes to."""

    rules: tuple[Rule, ...]
    plan: str
    """The key's plan where it has one, else the tenant's: what prices depend on."""
    group: str
    brand: str = ""


@lru_cache(_POLICIES)
def terms_of(policy: bytes) -> Terms:
    """Decodes a serialised Policy. Raises Refusal when it is none."""
    try:
        said = types_pb2.Policy.FromString(policy)
    except DecodeError:
        raise Refusal(Kind.INVALID_REQUEST, "the policy is malformed") from None
    rules = [
        *_rules(said.tenant_plan_limits, False, "tenant_plan", said.tenant_plan),
        *_rules(said.tenant_limits, False, "tenant", "tenant"),
        *_rules(said.key_plan_limits, True, "key_plan", said.key_plan),
        *_rules(said.key_limits, True, "key", "key"),
    ]
    return Terms(tuple(rules), said.key_plan or said.tenant_plan, said.group, said.brand)


def _rules(limits: Iterable[types_pb2.Limit], of_key: bool, source: str, scope: str) -> list[Rule]:
    """A metric of a newer version of whoever wrote the policy limits nothing here."""
    return [
        Rule(limit.metric, limit.amount, limit.model, of_key, source, scope)
        for limit in limits
        if limit.metric in _METRICS
    ]


def check_limits(limits: Iterable[types_pb2.Limit]) -> None:
    """Raises Refusal when these cannot be the limits of one plan, tenant or key."""
    seen: set[tuple[int, str]] = set()
    for limit in limits:
        if limit.metric not in _METRICS:
            raise Refusal(Kind.INVALID_REQUEST, "a limit must say what it counts")
        if limit.amount > MOST_AMOUNT or len(limit.model) > _MODEL_LENGTH:
            raise Refusal(
                Kind.INVALID_REQUEST,
                f"a limit is of at most {MOST_AMOUNT}, and names a model of at most {_MODEL_LENGTH} characters",
            )
        if (limit.metric, limit.model) in seen:
            raise Refusal(Kind.INVALID_REQUEST, f"there are two limits of {metric_name(limit.metric)} for one model")
        seen.add((limit.metric, limit.model))
    if len(seen) > MOST_LIMITS:
        raise Refusal(Kind.INVALID_REQUEST, f"there are more than {MOST_LIMITS} limits")


def check_name(what: str, name: str) -> None:
    """Raises Refusal when a plan or a group cannot be called so."""
    if not _NAME.fullmatch(name):
        raise Refusal(
            Kind.INVALID_REQUEST,
            f"a {what} is named by lower-case letters, digits, hyphens, dots and underscores, at most 63",
        )


def check_plan(name: str) -> None:
    """Raises Refusal when a plan cannot be called so."""
    check_name("plan", name)
    if name in ("tenant", "key"):
        raise Refusal(Kind.INVALID_REQUEST, f"no plan can be called {name}: refusals name a {name}'s own limits so")


def stored(limits: Iterable[types_pb2.Limit]) -> list[dict[str, Any]]:
    """Limits as they are kept: a JSON array."""
    return [
        {"metric": metric_name(limit.metric), "amount": limit.amount} | ({"model": limit.model} if limit.model else {})
        for limit in limits
    ]


def limits_of(kept: Iterable[Mapping[str, Any]]) -> list[types_pb2.Limit]:
    """Limits from what is kept."""
    return [
        types_pb2.Limit(metric=_BY_NAME[limit["metric"]], amount=limit["amount"], model=limit.get("model", ""))  # type: ignore[arg-type]
        for limit in kept
    ]
