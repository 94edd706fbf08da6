"""What a brand may be: every field checked, what was left out filled in. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf import json_format

from services.shared import principal
from services.shared.errors import BY_LABEL, Kind, Refusal
from tollhouse.v1 import auth_pb2

MOST_HOSTS: Final = 100
MOST_BASE_PATHS: Final = 8
_NAME: Final = re.compile(r"[a-z0-9._-]{1,63}")
# RFC 1123 section 2.1: labels of letters, digits and hyphens; an IPv4 address looks like one.
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_BASE_PATH: Final = re.compile(r"(/[A-Za-z0-9._-]{1,50}){1,8}")
_KEY_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{0,31}[_-]")
_MASK: Final = re.compile(r"(\{prefix\}|\{first4\}|\{last4\}|[*.\u2022_-]){1,40}")
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HEADER: Final = re.compile(r"[Xx]-[A-Za-z0-9-]{1,60}")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")
_API_URL: Final = re.compile(r"https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?")
PAGE_WORDS: Final = frozenset(("headline", "tagline", "key", "keys", "credit"))
"""What pages of the console may call otherwise."""
_TITLE_MOST: Final = 40
_PAGE_WORD_MOST: Final = 200
_OURS: Final = frozenset(("x-request-id", "x-should-retry", "x-api-key"))
_BASE_PATHS: Final = ("/v1",)
_UNKNOWN_MODEL_STATUSES: Final = (404, 503)
_MAX_TOKENS_MAX: Final = (1 << 31) - 1


def completed(brand: auth_pb2.Brand) -> auth_pb2.Brand:
    """The brand with what was left out filled in. Raises Refusal that names the field."""
    whole = auth_pb2.Brand()
    whole.CopyFrom(brand)
    whole.key_prefix = brand.key_prefix or principal.KEY_PREFIX
    whole.mask = brand.mask or principal.MASK
    whole.unknown_model_status = brand.unknown_model_status or _UNKNOWN_MODEL_STATUSES[0]
    if not brand.base_paths:
        whole.base_paths.extend(_BASE_PATHS)
    _check_place(whole)
    _check_keys(whole)
    _check_words(whole)
    _check_answers(whole)
    _check_pages(whole)
    return whole


def stored(brand: auth_pb2.Brand) -> dict[str, Any]:
    """A brand as it is kept, but for its name, its hosts and whether it is the default one, which are columns."""
    said = json_format.MessageToDict(brand, preserving_proto_field_name=True)
    return {name: value for name, value in said.items() if name not in ("name", "hosts", "is_default")}


def brand_of(name: str, hosts: Iterable[str], is_default: bool, kept: Mapping[str, Any]) -> auth_pb2.Brand:
    """A brand from what is kept. A field of a newer version is passed over."""
    brand = json_format.ParseDict(dict(kept), auth_pb2.Brand(), ignore_unknown_fields=True)
    brand.name, brand.is_default = name, is_default
    brand.hosts.extend(hosts)
    return brand


def _check_place(brand: auth_pb2.Brand) -> None:
    if not _NAME.fullmatch(brand.name):
        raise _wrong("name", "must be lower-case letters, digits, hyphens, dots and underscores, at most 63")
    for host in brand.hosts:
        if not _HOST.fullmatch(host):
            raise _wrong("hosts", f"{host!r} is not a host's name in lower case, without a port")
    for path in brand.base_paths:
        if not _BASE_PATH.fullmatch(path):
            raise _wrong("base_paths", f"{path!r} is not a path such as /v1, without a slash at its end")
    for field, values, most in (
        ("hosts", brand.hosts, MOST_HOSTS),
        ("base_paths", brand.base_paths, MOST_BASE_PATHS),
        ("top_ups", brand.top_ups, len(auth_pb2.TopUp.values())),
    ):
        if len(values) > most:
            raise _wrong(field, f"at most {most} can be named")
        if len(set(values)) < len(values):
            raise _wrong(field, "one is named twice")


def _check_keys(brand: auth_pb2.Brand) -> None:
    if not _KEY_PREFIX.fullmatch(brand.key_prefix):
        raise _wrong(
            "key_prefix",
            "must be at most 32 letters, digits, hyphens and underscores, and end in one of the latter two",
        )
    if not _MASK.fullmatch(brand.mask):
        raise _wrong("mask", "is made of {prefix}, {first4}, {last4} and of stars, dots, hyphens and underscores")
    for way in brand.top_ups:
        if way == auth_pb2.TOP_UP_UNSPECIFIED or way not in auth_pb2.TopUp.values():
            raise _wrong("top_ups", f"{way} is no way to pay")


def _check_words(brand: auth_pb2.Brand) -> None:
    for field, words in (
        ("error_types", brand.error_types),
        ("openai_error_types", brand.openai_error_types),
        ("error_codes", brand.error_codes),
    ):
        for label, word in sorted(words.items()):
            if label not in BY_LABEL:
                raise _wrong(f"{field}.{label}", "is no kind of the error catalogue (docs/ERRORS.md)")
            if not _WORD.fullmatch(word):
                raise _wrong(f"{field}.{label}", f"{word!r} is not lower-case letters, digits and underscores")


def _check_answers(brand: auth_pb2.Brand) -> None:
    if brand.unknown_model_status not in _UNKNOWN_MODEL_STATUSES:
        raise _wrong("unknown_model_status", f"{brand.unknown_model_status} is neither 404 nor 503")
    if brand.default_max_tokens > _MAX_TOKENS_MAX:
        raise _wrong("default_max_tokens", f"is above {_MAX_TOKENS_MAX}")
    headers = {
        "request_id_header": brand.request_id_header,
        "upstream_account_id_header": brand.upstream_account_id_header,
    }
    for field, header in headers.items():
        if header and (not _HEADER.fullmatch(header) or header.lower() in _OURS):
            raise _wrong(field, f"{header!r} is not the name of a header of one's own, such as X-House-Request-Id")
    if brand.request_id_header and brand.request_id_header.lower() == brand.upstream_account_id_header.lower():
        raise _wrong("upstream_account_id_header", "is the same as request_id_header")


def _check_pages(brand: auth_pb2.Brand) -> None:
    if len(brand.title) > _TITLE_MOST or not brand.title.isprintable():
        raise _wrong("title", f"is a line of at most {_TITLE_MOST} characters")
    if brand.accent and not _COLOUR.fullmatch(brand.accent):
        raise _wrong("accent", f"{brand.accent!r} is not a colour such as #0f6b5c, in lower case")
    if brand.api_url and not _API_URL.fullmatch(brand.api_url):
        raise _wrong("api_url", f"{brand.api_url!r} is not a scheme and a host such as https://api.house.example")
    for name, word in sorted(brand.words.items()):
        if name not in PAGE_WORDS:
            raise _wrong(f"words.{name}", f"is none of {', '.join(sorted(PAGE_WORDS))}")
        if not 0 < len(word) <= _PAGE_WORD_MOST or not word.isprintable():
            raise _wrong(f"words.{name}", f"is a line of 1 to {_PAGE_WORD_MOST} characters")


def _wrong(field: str, why: str) -> Refusal:
    return Refusal(Kind.INVALID_REQUEST, f"{field}: {why}", param=field)
