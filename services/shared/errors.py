"""The error catalogue: every way a call can be refused, whose fault it is, and its status in gRPC and HTTP.

A `Refusal` carries a kind of the catalogue from where it is noticed to where it is told: across gRPC in the trailer
`tollhouse-error-bin` or in an item's result, to clients in the words of their API (`services.edge.dialects`).
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

import grpc

from tollhouse.v1 import types_pb2

TRAILER: Final = "tollhouse-error-bin"


class Blame(Enum):
    """Whose fault it was."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    OURS = "ours"


class Kind(Enum):
    """One row of the catalogue: name, HTTP status, gRPC status, blame, and what it means."""

    def __init__(self, label: str, http_status: int, grpc_status: grpc.StatusCode, blame: Blame, meaning: str) -> None:
        self.label = label
        self.http_status = http_status
        self.grpc_status = grpc_status
        self.blame = blame
        self.meaning = meaning

    # fmt: off
    INVALID_REQUEST = ("invalid_request", 400, grpc.StatusCode.INVALID_ARGUMENT, Blame.CLIENT, "The request is malformed or misses a field; the message names it.")
    KEY_MISSING = ("key_missing", 401, grpc.StatusCode.UNAUTHENTICATED, Blame.CLIENT, "No key in Authorization or x-api-key.")
    KEY_CONFLICT = ("key_conflict", 401, grpc.StatusCode.UNAUTHENTICATED, Blame.CLIENT, "Two headers hold different keys; nothing is guessed.")
    KEY_UNKNOWN = ("key_unknown", 401, grpc.StatusCode.UNAUTHENTICATED, Blame.CLIENT, "The key is malformed, was deleted or never existed.")
    KEY_EXPIRED = ("key_expired", 401, grpc.StatusCode.UNAUTHENTICATED, Blame.CLIENT, "The key's time is over.")
    KEY_DISABLED = ("key_disabled", 403, grpc.StatusCode.PERMISSION_DENIED, Blame.CLIENT, "The key is disabled.")
    TENANT_DISABLED = ("tenant_disabled", 403, grpc.StatusCode.PERMISSION_DENIED, Blame.CLIENT, "The tenant is disabled.")
    MODEL_NOT_ALLOWED = ("model_not_allowed", 403, grpc.StatusCode.PERMISSION_DENIED, Blame.CLIENT, "The key has a list of models, and this one is not on it.")
    ADDRESS_NOT_ALLOWED = ("address_not_allowed", 403, grpc.StatusCode.PERMISSION_DENIED, Blame.CLIENT, "The key has a list of addresses, and the request comes from none of them.")
    TOKEN_MISSING = ("token_missing", 401, grpc.StatusCode.UNAUTHENTICATED, Blame.CLIENT, "The gRPC call brings no service token in its metadata `authorization`.")
    TOKEN_UNKNOWN = ("token_unknown", 401, grpc.StatusCode.UNAUTHENTICATED, Blame.CLIENT, "The service token is malformed, expired, was revoked or never existed.")
    TOKEN_SCOPE = ("token_scope", 403, grpc.StatusCode.PERMISSION_DENIED, Blame.CLIENT, "The service token is good, but not for this call or this tenant.")
    CALLER_FORBIDDEN = ("caller_forbidden", 403, grpc.StatusCode.PERMISSION_DENIED, Blame.CLIENT, "Whoever the client certificate of the gRPC call names may not make it; the message says who that is.")
    BALANCE_EXHAUSTED = ("balance_exhausted", 402, grpc.StatusCode.RESOURCE_EXHAUSTED, Blame.CLIENT, "The balance cannot cover what the request may cost; the message says how many output tokens it could afford.")
    KEY_CAP_EXHAUSTED = ("key_cap_exhausted", 402, grpc.StatusCode.RESOURCE_EXHAUSTED, Blame.CLIENT, "What is left of the key's spend cap cannot cover what the request may cost.")
    ROUTE_UNKNOWN = ("route_unknown", 404, grpc.StatusCode.UNIMPLEMENTED, Blame.CLIENT, "There is no such endpoint.")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, grpc.StatusCode.UNIMPLEMENTED, Blame.CLIENT, "The endpoint exists, but not for this method.")
    MODEL_UNKNOWN = ("model_unknown", 404, grpc.StatusCode.NOT_FOUND, Blame.CLIENT, "No upstream account serves a model of this name.")
    USAGE_UNKNOWN = ("usage_unknown", 404, grpc.StatusCode.NOT_FOUND, Blame.CLIENT, "No request of this id was made by the tenant that asks.")
    NOT_FOUND = ("not_found", 404, grpc.StatusCode.NOT_FOUND, Blame.CLIENT, "What a management call names does not exist.")
    VOUCHER_UNKNOWN = ("voucher_unknown", 404, grpc.StatusCode.NOT_FOUND, Blame.CLIENT, "There is no voucher of this code.")
    VOUCHER_SPENT = ("voucher_spent", 409, grpc.StatusCode.FAILED_PRECONDITION, Blame.CLIENT, "The voucher was redeemed by somebody else, is void or has expired; the message says which.")
    REQUEST_TIMEOUT = ("request_timeout", 408, grpc.StatusCode.DEADLINE_EXCEEDED, Blame.CLIENT, "The request's body did not arrive in time.")
    REQUEST_TOO_LARGE = ("request_too_large", 413, grpc.StatusCode.OUT_OF_RANGE, Blame.CLIENT, "The body is over the limit.")
    ENCODING_UNKNOWN = ("encoding_unknown", 415, grpc.StatusCode.INVALID_ARGUMENT, Blame.CLIENT, "The body is compressed; it must be sent as it is.")
    RATE_LIMITED = ("rate_limited", 429, grpc.StatusCode.RESOURCE_EXHAUSTED, Blame.CLIENT, "A limit of the key, the tenant or their plans is reached; the message names it, Retry-After says for how long.")
    WATCHERS_FULL = ("watchers_full", 429, grpc.StatusCode.RESOURCE_EXHAUSTED, Blame.CLIENT, "As many watches of usage run as the ledger allows.")
    UPSTREAM_THROTTLED = ("upstream_throttled", 429, grpc.StatusCode.RESOURCE_EXHAUSTED, Blame.UPSTREAM, "Every upstream account that was tried asked for fewer requests.")
    INTERNAL = ("internal", 500, grpc.StatusCode.INTERNAL, Blame.OURS, "A defect of ours; the log has it under the request id.")
    NOT_IMPLEMENTED = ("not_implemented", 501, grpc.StatusCode.UNIMPLEMENTED, Blame.OURS, "The endpoint is left out on purpose.")
    UPSTREAM_FAILED = ("upstream_failed", 502, grpc.StatusCode.UNAVAILABLE, Blame.UPSTREAM, "The upstream failed and no other account could take the request.")
    NO_HEALTHY_ACCOUNT = ("no_healthy_account", 503, grpc.StatusCode.UNAVAILABLE, Blame.UPSTREAM, "The model exists, but no upstream account can serve it now.")
    MODEL_UNPRICED = ("model_unpriced", 503, grpc.StatusCode.FAILED_PRECONDITION, Blame.OURS, "The model has no price, so nobody may call it.")
    AUTH_UNAVAILABLE = ("auth_unavailable", 503, grpc.StatusCode.UNAVAILABLE, Blame.OURS, "The auth service does not answer.")
    ROUTER_UNAVAILABLE = ("router_unavailable", 503, grpc.StatusCode.UNAVAILABLE, Blame.OURS, "The router service does not answer.")
    LEDGER_UNAVAILABLE = ("ledger_unavailable", 503, grpc.StatusCode.UNAVAILABLE, Blame.OURS, "The ledger service does not answer, and no credit is at hand.")
    CREDIT_RECOVERING = ("credit_recovering", 503, grpc.StatusCode.UNAVAILABLE, Blame.OURS, "The credit that is left is reserved by a replica that was lost a moment ago; it is free again within seconds.")
    RECORDING_UNAVAILABLE = ("recording_unavailable", 503, grpc.StatusCode.UNAVAILABLE, Blame.OURS, "Usage cannot be recorded now, so no work is taken (invariant I8).")
    BODIES_FULL = ("bodies_full", 503, grpc.StatusCode.UNAVAILABLE, Blame.OURS, "The edge has as many bytes of requests in memory as it may.")
    UPSTREAM_TIMEOUT = ("upstream_timeout", 504, grpc.StatusCode.DEADLINE_EXCEEDED, Blame.UPSTREAM, "The upstream sent nothing within the time limit.")
    UPSTREAM_OVERLOADED = ("upstream_overloaded", 529, grpc.StatusCode.UNAVAILABLE, Blame.UPSTREAM, "Every upstream account that was tried said it is overloaded.")
    # fmt: on


BY_LABEL: Final[Mapping[str, Kind]] = {kind.label: kind for kind in Kind}


class Refusal(Exception):
    """A call that is refused, in the catalogue's words.

    Args:
        kind: the row of the catalogue.
        message: a sentence for the person who reads it; never holds a secret.
        details: facts that a program may want.
    """

    def __init__(self, kind: Kind, message: str, **details: str) -> None:
        super().__init__(f"{kind.label}: {message}")
        self.kind = kind
        self.message = message
        self.details = details


def to_detail(refusal: Refusal) -> types_pb2.ErrorDetail:
    """The form in which a refusal crosses gRPC."""
    return types_pb2.ErrorDetail(kind=refusal.kind.label, message=refusal.message, details=refusal.details)


def from_detail(detail: types_pb2.ErrorDetail) -> Refusal:
    """The refusal that crossed gRPC. A kind of a newer version of the peer becomes INTERNAL."""
    kind = BY_LABEL.get(detail.kind)
    if kind is None:
        return Refusal(Kind.INTERNAL, f"a service answered with the unknown error kind {detail.kind!r}")
    return Refusal(kind, detail.message, **detail.details)
