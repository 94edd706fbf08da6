"""What the public API can be asked: each path with its methods."""

from collections.abc import Mapping
from typing import Any, Final

from services.edge import shapes
from services.edge.apis import Api
from services.edge.brand import Brand
from services.edge.openapi import anthropic, failures, openai, tollhouse
from services.edge.openapi.failures import Failures, headers
from services.edge.openapi.schema import EVENTS, JSON, STRING, Schema, described, of

Operation = dict[str, Any]

Security = list[dict[str, list[str]]]

_KEY: Final[Security] = [{"bearer": []}, {"apiKey": []}]
_KEY_OR_GOOGLES: Final[Security] = [*_KEY, {"googleKey": []}, {"googleKeyInQuery": []}]
_OPEN: Final[Security] = []

SECURITY: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "googleKey": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
    "googleKeyInQuery": {"type": "apiKey", "in": "query", "name": "key"},
}
"""Where a key may stand."""

_IDEMPOTENCY: Final = ("header", "idempotency-key", described(STRING, "Noted with the usage; goes on upstream."), False)
_VERSION: Final = ("header", "anthropic-version", described(STRING, "Asks for Anthropic's shape."), False)
_TO_ANTHROPIC: Final = (
    ("header", "anthropic-version", described(STRING, "2023-06-01 where it is absent. Goes on upstream."), False),
    ("header", "anthropic-beta", described(STRING, "Goes on upstream."), False),
    ("query", "beta", described(STRING, "Goes on upstream."), False),
    _IDEMPOTENCY,
)
_OF_UPSTREAM: Final = ("request-id",)
_MODEL_ID: Final = ("path", "model", described(STRING, "A model's id, which may hold slashes."), True)
_REQUEST_ID: Final = ("path", "request_id", described(STRING, "The `x-request-id` of an answer."), True)
_PAGES: Final = tuple(
    ("query", name, described(STRING, "Accepted; the whole list is answered."), False)
    for name in ("limit", "after_id", "before_id", "pageSize", "pageToken")
)


def paths(brand: Brand) -> dict[str, dict[str, Operation]]:
    """Every path without aliases, each method in lower case."""
    return {
        **{api.value: {"post": operation} for api, operation in _relayed(brand).items()},
        **_models(brand),
        **_own(brand),
    }


def failures_of_all() -> tuple[Failures, ...]:
    """All ways to fail that some operation has."""
    return (
        failures.NONE,
        failures.KEYS_OF_RECEIPTS,
        failures.MESSAGES,
        failures.OPENAI,
        failures.MODELS,
        failures.MODEL,
        failures.MODELS_OF_GEMINI,
        failures.MODEL_OF_GEMINI,
        failures.MODELS_OF_OPENAI,
        failures.MODEL_OF_OPENAI,
        failures.LEFT_OUT,
        failures.READING,
        failures.ASKING,
        failures.ONE_USAGE,
    )


def _relayed(brand: Brand) -> dict[Api, Operation]:
    by = (brand.upstream_account_id_header.lower(),)

    def chatting(name: str, summary: str, asked: str, said: str, events: str, *parameters: Any) -> Operation:
        stream = {"schema": described(STRING, events)}
        answer = {JSON: {"schema": of(said)}, EVENTS: stream}
        which = failures.MESSAGES if asked == "MessagesRequest" else failures.OPENAI
        limits = failures.ANTHROPIC_LIMITS if which is failures.MESSAGES else failures.OPENAI_LIMITS
        answered = (*_OF_UPSTREAM, *by, *limits)
        return _operation(name, summary, brand, answer, which, parameters, asked=asked, answered=answered)

    counted: Operation = _operation(
        "countTokens",
        "Counts a request's input tokens; not billed",
        brand,
        {JSON: {"schema": of("TokenCount")}},
        failures.MESSAGES,
        _TO_ANTHROPIC,
        asked="CountTokensRequest",
        answered=("x-tollhouse-estimated", *_OF_UPSTREAM, *by, *failures.ANTHROPIC_LIMITS),
    )
    return {
        Api.MESSAGES: chatting(
            "createMessage",
            "Anthropic's Messages, plain or streamed",
            "MessagesRequest",
            "Message",
            anthropic.EVENTS_TEXT,
            *_TO_ANTHROPIC,
        ),
        Api.COUNT_TOKENS: counted,
        Api.CHAT: chatting(
            "createChatCompletion",
            "OpenAI's Chat Completions, plain or streamed",
            "ChatCompletionRequest",
            "ChatCompletion",
            openai.CHAT_EVENTS_TEXT,
            _IDEMPOTENCY,
        ),
        Api.RESPONSES: chatting(
            "createResponse",
            "OpenAI's Responses, plain or streamed",
            "ResponsesRequest",
            "Response",
            openai.RESPONSES_EVENTS_TEXT,
            _IDEMPOTENCY,
        ),
        Api.EMBEDDINGS: _operation(
            "createEmbeddings",
            "OpenAI's embeddings",
            brand,
            {JSON: {"schema": of("Embeddings")}},
            failures.OPENAI,
            (_IDEMPOTENCY,),
            asked="EmbeddingsRequest",
            answered=(*_OF_UPSTREAM, *by, *failures.OPENAI_LIMITS),
        ),
    }


def _models(brand: Brand) -> dict[str, dict[str, Operation]]:
    listing = _KEY_OR_GOOGLES if brand.google_keys_on_models else _KEY

    def asking(name: str, summary: str, said: str, which: Failures, *parameters: Any, security: Security) -> Operation:
        answer = {JSON: {"schema": of(said)}}
        return _operation(name, summary, brand, answer, which, parameters, security=security)

    every, one = "The models that the key may call now", "One of the models that the key may call now"
    google = _KEY_OR_GOOGLES
    deleting = _operation(
        "deleteModel", "Left out on purpose", brand, {}, failures.LEFT_OUT, (_MODEL_ID, _VERSION), security=_OPEN
    )
    return {
        shapes.MODELS: {
            "get": asking("listModels", every, "ModelList", failures.MODELS, _VERSION, *_PAGES, security=listing)
        },
        shapes.MODELS + "/{model}": {
            "get": asking("getModel", one, "Model", failures.MODEL, _MODEL_ID, _VERSION, security=google),
            "delete": deleting,
        },
        shapes.GEMINI_MODELS: {
            "get": asking(
                "listGeminiModels", f"{every}, as Gemini", "GeminiModelList", failures.MODELS_OF_GEMINI, security=google
            )
        },
        shapes.GEMINI_MODELS + "/{model}": {
            "get": asking("getGeminiModel", one, "GeminiModel", failures.MODEL_OF_GEMINI, _MODEL_ID, security=google)
        },
        shapes.OPENAI_MODELS: {
            "get": asking("listOpenAIModels", every, "OpenAIModelList", failures.MODELS_OF_OPENAI, security=google)
        },
        shapes.OPENAI_MODELS + "/{model}": {
            "get": asking("getOpenAIModel", one, "OpenAIModel", failures.MODEL_OF_OPENAI, _MODEL_ID, security=google)
        },
    }


def _own(brand: Brand) -> dict[str, dict[str, Operation]]:
    def reading(
        name: str,
        summary: str,
        said: str,
        which: Failures,
        parameters: Any = (),
        *,
        media: str = JSON,
        open_: bool = False,
    ) -> dict[str, Operation]:
        security = _OPEN if open_ else _KEY
        answer = {media: {"schema": of(said)}}
        return {"get": _operation(name, summary, brand, answer, which, parameters, security=security)}

    return {
        "/": reading("home", "That somebody is here; some clients look", "Home", failures.NONE, open_=True),
        "/openapi.json": reading("document", "This document", "Document", failures.NONE, open_=True),
        "/v1/usage": reading(
            "listUsage",
            "The tenant's requests, newest first",
            "UsageList",
            failures.ASKING,
            _query(tollhouse.LIST_PARAMETERS),
        ),
        "/v1/usage/summary": reading(
            "summarizeUsage",
            "Sums of hours or days",
            "UsageSummary",
            failures.ASKING,
            _query(tollhouse.SUMMARY_PARAMETERS),
        ),
        "/v1/usage/{request_id}": reading(
            "getUsage", "What one request used and cost", "Usage", failures.ONE_USAGE, (_REQUEST_ID,)
        ),
        "/v1/usage/{request_id}/receipt": reading(
            "getReceipt",
            "The request as a signed receipt",
            "Receipt",
            failures.ONE_USAGE,
            (_REQUEST_ID,),
            media="application/jwt",
        ),
        "/v1/balance": reading("getBalance", "What the key's tenant has left", "Balance", failures.READING),
        "/v1/dashboard/billing/subscription": reading(
            "getBillingSubscription",
            "What the key may spend, as New-API has it",
            "BillingSubscription",
            failures.READING,
        ),
        "/v1/dashboard/billing/usage": reading(
            "getBillingUsage", "What the key has spent, as New-API has it", "BillingUsage", failures.READING
        ),
        "/api/usage/token/": reading("getTokenUsage", "Both in New-API's quota", "TokenUsage", failures.READING),
        "/api/usage/token": reading("getTokenUsagePlain", "The same", "TokenUsage", failures.READING),
        "/.well-known/tollhouse-receipt-keys.json": reading(
            "getReceiptKeys",
            "The public keys of receipts",
            "ReceiptKeys",
            failures.KEYS_OF_RECEIPTS,
            media="application/jwk-set+json",
            open_=True,
        ),
    }


def _operation(
    name: str,
    summary: str,
    brand: Brand,
    answer: Mapping[str, Any],
    which: Failures,
    parameters: Any,
    *,
    asked: str = "",
    answered: tuple[str, ...] = (),
    security: Security = _KEY,
) -> Operation:
    operation: Operation = {"operationId": name, "summary": summary, "security": security}
    if parameters:
        operation["parameters"] = [
            {"in": place, "name": field, "required": needed, "schema": schema}
            for place, field, schema, needed in parameters
        ]
    if asked:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": of(asked)}}}
    success: dict[str, Any] = {"description": "Answered.", "content": dict(answer)}
    success["headers"] = headers(answered, brand)
    operation["responses"] = ({"200": success} if answer else {}) | which.answers(brand)
    return operation


def _query(parameters: Mapping[str, Schema]) -> tuple[tuple[str, str, Schema, bool], ...]:
    return tuple(("query", name, schema, False) for name, schema in parameters.items())
