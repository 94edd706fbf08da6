"""Error answers: which kinds an operation may end in, and how each API writes them, in the brand's words."""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from services.edge.brand import Brand
from services.edge.dialects import anthropic, errors, openai
from services.edge.openapi.schema import INTEGER, JSON, STRING, Schema, either, of, or_null, record
from services.shared.errors import Kind, Refusal

_ID: Final = "req_01kab3k7v9m2e4x8r6t0w5y1zq"
_OVERLOADED: Final = 529
_SCHEMAS: Final[dict[errors.Api, str]] = {
    "anthropic": "AnthropicError",
    "openai": "OpenAIError",
    "gemini": "GeminiError",
}
PASSED_ON: Final = (400, 404, 405, 409, 413, 415, 422)
"""Statuses with which an upstream complains about the request itself: they go on to the client, with the upstream's
own body."""

_OF_KEYS: Final = (
    Kind.KEY_MISSING,
    Kind.KEY_CONFLICT,
    Kind.KEY_UNKNOWN,
    Kind.KEY_EXPIRED,
    Kind.KEY_DISABLED,
    Kind.TENANT_DISABLED,
    Kind.ADDRESS_NOT_ALLOWED,
    Kind.AUTH_UNAVAILABLE,
    Kind.INTERNAL,
)
_OF_REQUESTS: Final = (
    *_OF_KEYS,
    Kind.INVALID_REQUEST,
    Kind.MODEL_NOT_ALLOWED,
    Kind.BALANCE_EXHAUSTED,
    Kind.KEY_CAP_EXHAUSTED,
    Kind.MODEL_UNKNOWN,
    Kind.REQUEST_TIMEOUT,
    Kind.REQUEST_TOO_LARGE,
    Kind.ENCODING_UNKNOWN,
    Kind.RATE_LIMITED,
    Kind.UPSTREAM_THROTTLED,
    Kind.UPSTREAM_FAILED,
    Kind.NO_HEALTHY_ACCOUNT,
    Kind.MODEL_UNPRICED,
    Kind.ROUTER_UNAVAILABLE,
    Kind.LEDGER_UNAVAILABLE,
    Kind.CREDIT_RECOVERING,
    Kind.RECORDING_UNAVAILABLE,
    Kind.BODIES_FULL,
    Kind.UPSTREAM_TIMEOUT,
    Kind.UPSTREAM_OVERLOADED,
)


@dataclass(frozen=True)
class Failures:
    """How an operation may fail.

    Args:
        name: what components of the document are named after.
        apis: in whose shapes errors come; which of them, the request's headers decide.
        passed_on: whether an upstream's complaints are passed on too.
    """

    name: str
    apis: tuple[errors.Api, ...]
    kinds: tuple[Kind, ...]
    passed_on: bool = False

    def answers(self, brand: Brand) -> dict[str, Any]:
        """The `responses` of an operation: references to components."""
        return {
            str(status): {"$ref": f"#/components/responses/{self.name}{status}"} for status in self._statuses(brand)
        }

    def components(self, brand: Brand) -> dict[str, Any]:
        """What `answers` refers to, by name."""
        return {f"{self.name}{status}": self._component(status, brand) for status in self._statuses(brand)}

    def _statuses(self, brand: Brand) -> list[int]:
        passed_on = PASSED_ON if self.passed_on else ()
        return sorted({*(errors.status_of(_example(kind), brand) for kind in self.kinds), *passed_on})

    def _component(self, status: int, brand: Brand) -> dict[str, Any]:
        kinds = [kind for kind in self.kinds if errors.status_of(_example(kind), brand) == status]
        meanings = [kind.meaning for kind in kinds]
        schemas = [of(_SCHEMAS[api]) for api in self.apis]
        if self.passed_on and status in PASSED_ON:
            meanings.append("Or the upstream's own complaint about the request.")
            schemas += [of(f"Upstream{_SCHEMAS[api]}") for api in self.apis]
        examples = {
            f"{kind.label}_{api}" if len(self.apis) > 1 else kind.label: {
                "value": errors.error_object(_example(kind), api, brand, _ID)
            }
            for kind in kinds
            for api in self.apis
        }
        content = {"schema": schemas[0] if len(schemas) == 1 else either(*schemas)}
        return {
            "description": f"{_phrase(status)}. {' '.join(meanings)}",
            "headers": headers(_retry_names(kinds, brand), brand),
            "content": {JSON: content | ({"examples": examples} if examples else {})},
        }


NONE: Final = Failures("Open", ("anthropic",), (Kind.INTERNAL,))
KEYS_OF_RECEIPTS: Final = Failures("ReceiptKeys", ("anthropic",), (Kind.LEDGER_UNAVAILABLE, Kind.INTERNAL))
MESSAGES: Final = Failures("Messages", ("anthropic",), _OF_REQUESTS, passed_on=True)
OPENAI: Final = Failures("OpenAI", ("openai",), _OF_REQUESTS, passed_on=True)
MODELS: Final = Failures("Models", errors.APIS, (*_OF_KEYS, Kind.ROUTER_UNAVAILABLE))
MODEL: Final = Failures("Model", errors.APIS, (*MODELS.kinds, Kind.MODEL_NOT_ALLOWED, Kind.MODEL_UNKNOWN))
MODELS_OF_GEMINI: Final = Failures("GeminiModels", ("gemini",), MODELS.kinds)
MODEL_OF_GEMINI: Final = Failures("GeminiModel", ("gemini",), MODEL.kinds)
MODELS_OF_OPENAI: Final = Failures("OpenAIModels", ("openai",), MODELS.kinds)
MODEL_OF_OPENAI: Final = Failures("OpenAIModel", ("openai",), MODEL.kinds)
LEFT_OUT: Final = Failures("LeftOut", errors.APIS, (Kind.NOT_IMPLEMENTED, Kind.ROUTE_UNKNOWN, Kind.INTERNAL))
READING: Final = Failures("Reading", ("anthropic",), (*_OF_KEYS, Kind.LEDGER_UNAVAILABLE))
ASKING: Final = Failures("Asking", ("anthropic",), (*READING.kinds, Kind.INVALID_REQUEST))
ONE_USAGE: Final = Failures("OneUsage", ("anthropic",), (*READING.kinds, Kind.USAGE_UNKNOWN))

_HEADERS: Final[dict[str, Any]] = {
    "x-request-id": {"description": "Our request id.", "required": True, "schema": STRING},
    "retry-after": {"description": "When to ask again: whole seconds.", "schema": {"type": "integer", "minimum": 0}},
    "retry-after-ms": {"description": "The same in milliseconds, where it is known.", "schema": INTEGER},
    "x-should-retry": {"description": "`false`: asking again will not help.", "schema": STRING},
    "request-id": {"description": "The upstream's own request id.", "schema": STRING},
    "x-tollhouse-estimated": {"description": "`true`: no upstream counted; this is our estimate.", "schema": STRING},
}
_LIMIT: Final = {"description": "How the key's limits stand, where it has any.", "schema": STRING}
ANTHROPIC_LIMITS: Final = tuple(name.decode() for name in anthropic.LIMIT_HEADERS)
OPENAI_LIMITS: Final = tuple(name.decode() for name in openai.LIMIT_HEADERS)


def header_components(brand: Brand) -> dict[str, Any]:
    """Headers of answers, by name."""
    found = _HEADERS | dict.fromkeys((*ANTHROPIC_LIMITS, *OPENAI_LIMITS), _LIMIT)
    if brand.request_id_header:
        found[brand.request_id_header.lower()] = _HEADERS["x-request-id"]
    if brand.upstream_account_id_header:
        told = {"description": "The upstream account that answered, by an opaque id.", "schema": STRING}
        found[brand.upstream_account_id_header.lower()] = told
    return found


def headers(names: Iterable[str], brand: Brand) -> dict[str, Any]:
    """References to these, and to those that are on every answer."""
    ids = ("x-request-id", brand.request_id_header.lower())
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*ids, *names) if name}


def schemas(brand: Brand) -> dict[str, Schema]:
    """The shapes of errors, by name: ours, and upstreams', of which no more is known than what their SDKs read."""
    told = record({"type": STRING, "message": STRING}, {"code": STRING})
    whole: dict[str, Schema] = {"type": {"const": "error"}, "error": told, "request_id": STRING}
    openai_error = record({"message": STRING, "type": STRING, "param": or_null(STRING), "code": or_null(STRING)})
    gemini_error = record({"code": INTEGER, "message": STRING, "status": STRING})
    return {
        "AnthropicError": record({"error": told} if brand.bare_errors else whole),
        "OpenAIError": record({"error": openai_error}),
        "GeminiError": record({"error": gemini_error}),
        "UpstreamAnthropicError": record({"error": record({"type": STRING, "message": STRING})}),
        "UpstreamOpenAIError": record({"error": record({"message": STRING})}),
    }


def _retry_names(kinds: list[Kind], brand: Brand) -> list[str]:
    said = {name.decode() for kind in kinds for name, _ in errors.retry_headers(_example(kind), brand)}
    if "retry-after" in said:
        said.add("retry-after-ms")
    return sorted(said)


def _example(kind: Kind) -> Refusal:
    return Refusal(kind, kind.meaning)


def _phrase(status: int) -> str:
    return "Overloaded" if status == _OVERLOADED else HTTPStatus(status).phrase
