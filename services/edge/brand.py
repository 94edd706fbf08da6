"""What a brand is to the edge: how one deployment looks to one audience. Data only; no code asks for its name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.shared import principal
from tollhouse.v1 import auth_pb2

NAME: Final = "tollhouse"
"""What the built-in brand is called."""
_BASE_PATHS: Final = ("/v1",)
_UNKNOWN_MODEL_STATUS: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """One brand. Without arguments it is the built-in one, which answers as the providers do."""

    name: str = NAME
    hosts: tuple[str, ...] = ()
    base_paths: tuple[str, ...] = _BASE_PATHS
    key_prefix: str = principal.KEY_PREFIX
    reveal: bool = False
    mask: str = principal.MASK
    error_types: Mapping[str, str] = field(default_factory=dict)
    """Kind's label to the type of an Anthropic-shaped error, where it is not the usual one."""
    openai_error_types: Mapping[str, str] = field(default_factory=dict)
    """Kind's label to the type of an OpenAI-shaped error, where it is not the usual one."""
    error_codes: Mapping[str, str] = field(default_factory=dict)
    """Kind's label to the code of an error, where it is not the usual one."""
    bare_errors: bool = False
    """Anthropic-shaped errors are `{"error": {...}}` alone."""
    unknown_model_status: int = _UNKNOWN_MODEL_STATUS
    default_max_tokens: int = 0
    """What a Messages request without max_tokens gets; 0: it is refused, as Anthropic does."""
    request_id_header: str = ""
    upstream_account_id_header: str = ""
    model_list_extras: bool = False
    google_keys_on_models: bool = True
    top_ups: tuple[str, ...] = ()
    """Of voucher, card, crypto."""
    is_default: bool = False

    def request_id_headers(self, request_id: str) -> list[tuple[bytes, bytes]]:
        """The headers that tell our id of a request."""
        said = [(b"x-request-id", request_id.encode())]
        if self.request_id_header:
            said.append((self.request_id_header.lower().encode(), request_id.encode()))
        return said


BUILT_IN: Final = Brand(is_default=True)
"""What answers where no brand is stored."""


def from_message(said: auth_pb2.Brand) -> Brand:
    """A brand as auth tells it. A way to pay of a newer version is left out."""
    return Brand(
        name=said.name,
        hosts=tuple(said.hosts),
        base_paths=tuple(said.base_paths) or _BASE_PATHS,
        key_prefix=said.key_prefix or principal.KEY_PREFIX,
        reveal=said.reveal,
        mask=said.mask or principal.MASK,
        error_types=dict(said.error_types),
        openai_error_types=dict(said.openai_error_types),
        error_codes=dict(said.error_codes),
        bare_errors=said.bare_errors,
        unknown_model_status=said.unknown_model_status or _UNKNOWN_MODEL_STATUS,
        default_max_tokens=said.default_max_tokens,
        request_id_header=said.request_id_header,
        upstream_account_id_header=said.upstream_account_id_header,
        model_list_extras=said.model_list_extras,
        google_keys_on_models=said.google_keys_on_models,
        top_ups=tuple(_TOP_UPS[way] for way in said.top_ups if way in _TOP_UPS),
        is_default=said.is_default,
    )


_TOP_UPS: Final[Mapping[int, str]] = {
    number: auth_pb2.TopUp.Name(number).removeprefix("TOP_UP_").lower() for number in auth_pb2.TopUp.values() if number
}
