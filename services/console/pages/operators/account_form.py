"""The form of an upstream account: every field, both ways. Pure."""

from collections.abc import Callable
from typing import Any, Final

from services.console.forms import Form
from services.console.pages.operators import fields
from tollhouse.v1 import router_pb2

KINDS: Final = {
    "anthropic": "Anthropic",
    "openai": "OpenAI, or compatible with it",
    "openrouter": "OpenRouter",
    "gemini-openai": "Gemini (its OpenAI endpoint)",
    "simulator": "Simulator of Tollhouse",
}
_NUMBERS: Final = {
    "anthropic": router_pb2.UPSTREAM_KIND_ANTHROPIC,
    "openai": router_pb2.UPSTREAM_KIND_OPENAI,
    "openrouter": router_pb2.UPSTREAM_KIND_OPENROUTER,
    "gemini-openai": router_pb2.UPSTREAM_KIND_GEMINI_OPENAI,
    "simulator": router_pb2.UPSTREAM_KIND_SIMULATOR,
}
KIND_NAMES: Final = {number: name for name, number in _NUMBERS.items()}
FIELDS: Final = (
    "name",
    "kind",
    "base_url",
    "credential",
    "models",
    "headers",
    "pool",
    "priority",
    "weight",
    "concurrent",
    "requests_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "proxy",
    "note",
    "resale_allowed",
    "enabled",
)
WORDS: Final = {name: name for name in FIELDS}
"""The router's words for the fields, which are those of the form."""
NEW: Final = {"kind": "anthropic", "priority": "10", "weight": "100", "pool": "default", "enabled": "on"}


def form_of(account: router_pb2.UpstreamAccount) -> Form:
    """An account as its form shows it; its credential is not known."""
    limits = account.limits
    return Form(
        {
            "name": account.name,
            "kind": KIND_NAMES.get(account.kind, ""),
            "base_url": account.base_url,
            "models": fields.pair_lines(account.models, " = ", fold=True),
            "headers": fields.pair_lines(account.headers, ": "),
            "pool": account.pool,
            "priority": str(account.priority),
            "weight": str(account.weight),
            "concurrent": str(limits.concurrent or ""),
            "requests_per_minute": str(limits.requests_per_minute or ""),
            "input_tokens_per_minute": str(limits.input_tokens_per_minute or ""),
            "output_tokens_per_minute": str(limits.output_tokens_per_minute or ""),
            "proxy": account.proxy,
            "note": account.note,
            "resale_allowed": "on" if account.resale_allowed else "",
            "enabled": "on" if account.enabled else "",
        }
    )


def account_of(form: Form) -> router_pb2.UpstreamAccount:
    """The account that a form says; what is wrong is noted beside its field."""

    def read(name: str, reader: Callable[..., Any], otherwise: Any, **bounds: int) -> Any:
        try:
            return reader(form[name], **bounds)
        except ValueError as error:
            form.wrong(name, str(error))
            return otherwise

    if form["kind"] not in _NUMBERS:
        form.wrong("kind", "Choose what it speaks.")
    return router_pb2.UpstreamAccount(
        name=form["name"].strip(),
        kind=_NUMBERS.get(form["kind"], router_pb2.UPSTREAM_KIND_UNSPECIFIED),
        base_url=form["base_url"].strip(),
        models=read("models", fields.pairs, {}),
        headers=read("headers", lambda text: fields.pairs(text, ":"), {}),
        pool=form["pool"].strip(),
        priority=read("priority", fields.whole, 0, least=-1000, most=1000),
        weight=read("weight", fields.whole, 0, most=1000),
        limits=router_pb2.AccountLimits(
            concurrent=read("concurrent", fields.whole, 0),
            requests_per_minute=read("requests_per_minute", fields.whole, 0),
            input_tokens_per_minute=read("input_tokens_per_minute", fields.whole, 0, most=10**12),
            output_tokens_per_minute=read("output_tokens_per_minute", fields.whole, 0, most=10**12),
        ),
        proxy=form["proxy"].strip(),
        note=form["note"].strip(),
        resale_allowed=bool(form["resale_allowed"]),
        enabled=bool(form["enabled"]),
    )
