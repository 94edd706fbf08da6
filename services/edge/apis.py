"""The APIs that clients and upstreams speak, and which of them an upstream account can be asked in."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias

from tollhouse.v1 import router_pb2

UpstreamKind: TypeAlias = "router_pb2.UpstreamKind.ValueType"


class Api(Enum):
    """One API. Its value is the path of its endpoint."""

    MESSAGES = "/v1/messages"
    COUNT_TOKENS = "/v1/messages/count_tokens"
    CHAT = "/v1/chat/completions"
    RESPONSES = "/v1/responses"
    EMBEDDINGS = "/v1/embeddings"

    __hash__ = object.__hash__  # enum's own is a Python function, and every request looks things up by its API

    def __init__(self, path: str) -> None:
        self.label = self.name.lower()
        """In metrics and spans."""
        self.dialect = "anthropic" if path.startswith("/v1/messages") else "openai"
        """In whose words its errors are."""


_SPOKEN: Final[Mapping[UpstreamKind, tuple[Api, ...]]] = {
    router_pb2.UPSTREAM_KIND_ANTHROPIC: (Api.MESSAGES, Api.COUNT_TOKENS),
    router_pb2.UPSTREAM_KIND_SIMULATOR: (Api.MESSAGES, Api.COUNT_TOKENS, Api.CHAT, Api.RESPONSES, Api.EMBEDDINGS),
    router_pb2.UPSTREAM_KIND_OPENAI: (Api.CHAT, Api.RESPONSES, Api.EMBEDDINGS),
    router_pb2.UPSTREAM_KIND_OPENROUTER: (Api.CHAT, Api.MESSAGES),
    router_pb2.UPSTREAM_KIND_GEMINI_OPENAI: (Api.CHAT, Api.EMBEDDINGS),
}
_OTHERWISE: Final[Mapping[Api, tuple[Api, ...]]] = {
    Api.MESSAGES: (Api.CHAT,),
    Api.CHAT: (Api.MESSAGES,),
    Api.RESPONSES: (Api.MESSAGES, Api.CHAT),
}
"""What a request is translated to where its own API is not spoken; the others are not translated."""
_ANTHROPICS: Final = "anthropic/"
"""How ids of Anthropic's models begin at OpenRouter."""


def spoken_to(kind: UpstreamKind, api: Api, upstream_model: str = "") -> Api:
    """The API to ask an upstream account in, for a client that speaks `api`. Raises LookupError when there is none.
    Where an account speaks several, Anthropic's own models are asked in Anthropic's API, and all others in OpenAI's."""
    spoken = _SPOKEN[kind]
    if api in spoken:
        return api
    others = [other for other in _OTHERWISE.get(api, ()) if other in spoken]
    if not others:
        raise LookupError(f"an upstream account of kind {kind} cannot be asked in {api}")
    if Api.CHAT in others and not upstream_model.startswith(_ANTHROPICS):
        return Api.CHAT
    return others[0]


def kinds_for(api: Api) -> tuple[UpstreamKind, ...]:
    """The kinds of upstream accounts that can answer a client that speaks `api`; empty for all of them."""
    kinds = tuple(kind for kind, spoken in _SPOKEN.items() if {api, *_OTHERWISE.get(api, ())} & {*spoken})
    return () if len(kinds) == len(_SPOKEN) else kinds


def endpoint_types(kinds: Sequence[UpstreamKind]) -> list[str]:
    """In whose APIs a model can be talked to that upstream accounts of these kinds serve, in the words of model lists;
    empty where this version knows none of the kinds. Without kinds, as a router of an earlier version tells it, in all
    of them."""
    if not kinds:
        return list(_ENDPOINT_TYPES)
    return [name for name, api in _ENDPOINT_TYPES.items() if {*kinds} & {*(KINDS_FOR[api] or _SPOKEN)}]


KINDS_FOR: Final[Mapping[Api, tuple[UpstreamKind, ...]]] = {api: kinds_for(api) for api in Api}

_ENDPOINT_TYPES: Final[Mapping[str, Api]] = {"anthropic": Api.MESSAGES, "openai": Api.CHAT}

_PREFIXES: Final = ("", "/api/proxy")
_PROXY: Final = ["api", "proxy"]
_VERSIONS: Final = ("v1", "v1beta")
_DOUBLED: Final = ("/v1", "/v1/v1")
ENDPOINTS: Final[Mapping[str, Api]] = {
    prefix + doubled + api.value.removeprefix("/v1"): api for prefix in _PREFIXES for doubled in _DOUBLED for api in Api
}
"""Paths that clients POST to: SDK users mix base paths up."""


def canonical_path(path: str) -> str:
    """The path without what users' base URLs add to it: the prefix of some brands, a version that the SDK adds once
    more, slashes at its ends."""
    segments = path.strip("/").split("/")
    if segments[:2] == _PROXY:
        segments = segments[2:]
    versions = 0
    while versions < len(segments) and segments[versions] in _VERSIONS:
        versions += 1
    return "/" + "/".join(segments[max(0, versions - 1) :])
