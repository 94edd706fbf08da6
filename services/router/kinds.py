"""What upstream accounts speak, by the names that it is stored under. Pure."""

from typing import Final

from tollhouse.v1 import router_pb2

SIMULATOR: Final = "simulator"

KINDS: Final = {
    "anthropic": router_pb2.UPSTREAM_KIND_ANTHROPIC,
    SIMULATOR: router_pb2.UPSTREAM_KIND_SIMULATOR,
    "openai": router_pb2.UPSTREAM_KIND_OPENAI,
    "openrouter": router_pb2.UPSTREAM_KIND_OPENROUTER,
    "gemini-openai": router_pb2.UPSTREAM_KIND_GEMINI_OPENAI,
}
