"""What operators may say of upstream accounts, groups and models: checked, and in the form it is stored in. Pure.

Everything here raises Refusal of the kind INVALID_REQUEST, with a message that names the field.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from services.router.accounts import Limits
from services.router.families import family_of
from services.router.kinds import KINDS
from services.router.rows import AccountChange, ModelRow
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

DEFAULT: Final = "default"
"""The pool and the group that are always there."""

_KIND_NAMES: Final[Mapping[int, str]] = {number: name for name, number in KINDS.items()}
_NAME: Final = re.compile(r"[a-z0-9._-]{1,63}")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, 5.6.2
_OF_A_CONNECTION: Final = frozenset(  # RFC 9110, 7.6.1
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_OF_THE_EDGE: Final = frozenset(
    # How the body goes over, which answers the edge can meter, and who we are.
    (
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "expect",
        "accept-encoding",
        "authorization",
        "x-api-key",
    )
)
_ACCOUNT_NAME_LENGTH: Final = 100
_MODEL_LENGTH: Final = 200
_MODELS: Final = 1000
_HEADERS: Final = 32
_HEADER_LENGTH: Final = 4096
_URL_LENGTH: Final = 2000
_NOTE_LENGTH: Final = 1000
_CREDENTIAL_LENGTH: Final = 16_384
_GROUP_POOLS: Final = 64
_WEIGHT: Final = 100
_HIGHEST_WEIGHT: Final = 1000
_HIGHEST_LIMIT: Final = 1_000_000_000_000
_LONGEST_MS: Final = 24 * 3600 * 1000


def named(what: str, name: str) -> str:
    """The name of a pool, group."""
    if not _NAME.fullmatch(name):
        raise _wrong(f"{what} {name!r}: 1 to 63 lower-case letters, digits, hyphens, dots and underscores")
    return name


def credential(text: str) -> str:
    """A credential; the message does not quote it."""
    if not text or not text.isascii() or not text.isprintable() or text != text.strip():
        raise _wrong("credential is needed: printable ASCII without blanks around it")
    if len(text) > _CREDENTIAL_LENGTH:
        raise _wrong(f"credential has more than {_CREDENTIAL_LENGTH} characters")
    return text


def account(asked: router_pb2.UpstreamAccount) -> AccountChange:
    """An upstream account; its credential is checked apart."""
    name = asked.name
    if not name or len(name) > _ACCOUNT_NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise _wrong(f"name is needed: at most {_ACCOUNT_NAME_LENGTH} printable characters, no blanks around them")
    if not 0 <= asked.weight <= _HIGHEST_WEIGHT:
        raise _wrong(f"weight {asked.weight}: from 1 to {_HIGHEST_WEIGHT}")
    if len(asked.note) > _NOTE_LENGTH or "\x00" in asked.note:
        raise _wrong(f"note has more than {_NOTE_LENGTH} characters, or a NUL")
    return AccountChange(
        name=name,
        kind=_kind(asked.kind),
        base_url=_base_url(asked.base_url),
        models=_models(dict(asked.models)),
        priority=asked.priority,
        enabled=asked.enabled,
        pool=named("pool", asked.pool or DEFAULT),
        weight=asked.weight or _WEIGHT,
        headers=_headers(dict(asked.headers)),
        proxy=_proxy(asked.proxy),
        limits=_limits(asked.limits),
        resale_allowed=asked.resale_allowed,
        note=asked.note,
    )


def group(asked: router_pb2.Group) -> tuple[str, list[str]]:
    """A group's name and its pools, in order."""
    pools = [named("pool", pool) for pool in asked.pools]
    if not 1 <= len(pools) <= _GROUP_POOLS:
        raise _wrong(f"pools: a group has 1 to {_GROUP_POOLS}")
    if len(set(pools)) < len(pools):
        raise _wrong("pools: each stands in a group once")
    return named("group", asked.name), pools


def model(asked: router_pb2.Model) -> ModelRow:
    """What is said of a model."""
    times = asked.times
    row = ModelRow(
        model=_model_id("model", asked.model),
        display_name=asked.display_name or asked.model,
        family=_model_id("family", asked.family or family_of(asked.model)),
        attempts_budget_ms=times.attempts_budget_ms,
        first_byte_ms=times.first_byte_ms,
        idle_ms=times.idle_ms,
        total_ms=times.total_ms,
    )
    if len(row.display_name) > _MODEL_LENGTH or not row.display_name.isprintable():
        raise _wrong(f"display_name: at most {_MODEL_LENGTH} printable characters")
    if max(row.attempts_budget_ms, row.first_byte_ms, row.idle_ms, row.total_ms) > _LONGEST_MS:
        raise _wrong(f"times: at most {_LONGEST_MS} ms each, which is a day")
    return row


def _wrong(message: str) -> Refusal:
    return Refusal(Kind.INVALID_REQUEST, message)


def _kind(number: int) -> str:
    name = _KIND_NAMES.get(number)
    if name is None:
        raise _wrong(f"kind must be one of {', '.join(KINDS)}")
    return name


def _url(text: str) -> SplitResult | None:
    """A URL of a host, nothing secret in it; None for another text."""
    try:
        url = urlsplit(text)
        whole = url.hostname and url.port != 0  # reading a port raises for one that is none
    except ValueError:
        return None
    plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= _URL_LENGTH
    return url if whole and plain and "@" not in url.netloc and not url.query and not url.fragment else None


def _base_url(text: str) -> str:
    url = _url(text)
    if url is None or url.scheme not in ("http", "https"):
        raise _wrong(f"base_url {_quoted(text)} is not an http(s) URL of a host")
    return text.rstrip("/")


def _proxy(text: str) -> str:
    if not text:
        return ""
    url = _url(text)
    if url is None or url.scheme != "http" or url.path not in ("", "/"):
        raise _wrong(f"proxy {_quoted(text)} is not an http URL of a host and a port, without a password")
    return text.rstrip("/")


def _quoted(url: str) -> str:
    """A URL for a message; one that seems to hold a password is not repeated."""
    return "(not repeated)" if "@" in url else repr(url[:_URL_LENGTH])


def _models(models: dict[str, str]) -> dict[str, str]:
    if not 1 <= len(models) <= _MODELS:
        raise _wrong(f"models is needed: public id to the name at the upstream, at most {_MODELS}")
    for public, upstream in models.items():
        _model_id("models", public)
        _model_id("models", upstream)
    return models


def _model_id(what: str, text: str) -> str:
    if not text or len(text) > _MODEL_LENGTH or not text.isprintable() or " " in text:
        raise _wrong(
            f"{what}: {text[:_MODEL_LENGTH]!r} is not 1 to {_MODEL_LENGTH} printable characters without blanks"
        )
    return text


def _headers(headers: dict[str, str]) -> dict[str, str]:
    """Names in lower case."""
    lowered = {name.lower(): value for name, value in headers.items()}
    if len(lowered) < len(headers):
        raise _wrong("headers: each name once, whatever its case")
    if len(headers) > _HEADERS:
        raise _wrong(f"headers: at most {_HEADERS}")
    for name, value in lowered.items():
        if not _HEADER.fullmatch(name):
            raise _wrong(f"headers: {name[:100]!r} is not the name of a header")
        if name in _OF_A_CONNECTION or name in _OF_THE_EDGE:
            raise _wrong(f"headers: {name} is not for an account to set")
        good = value.isascii() and value.isprintable() and value == value.strip() and len(value) <= _HEADER_LENGTH
        if not value or not good:
            raise _wrong(f"headers: the value of {name} is not printable ASCII, at most {_HEADER_LENGTH} characters")
    return lowered


def _limits(asked: router_pb2.AccountLimits) -> Limits:
    limits = Limits(
        concurrent=asked.concurrent,
        requests=asked.requests_per_minute,
        input_tokens=asked.input_tokens_per_minute,
        output_tokens=asked.output_tokens_per_minute,
    )
    if max(limits.input_tokens, limits.output_tokens) > _HIGHEST_LIMIT:
        raise _wrong(f"limits: at most {_HIGHEST_LIMIT} tokens a minute")
    return limits
