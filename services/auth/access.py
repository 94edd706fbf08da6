"""What a key may be restricted to: lists of models and of addresses. Pure."""

import ipaddress
from collections.abc import Iterable
from typing import Final

from services.shared.errors import Kind, Refusal

MOST_MODELS: Final = 200
MOST_ADDRESSES: Final = 100
_MODEL_LENGTH: Final = 200


def listed_models(models: Iterable[str]) -> list[str]:
    """A key's list of models as it is kept: sorted, each once. Raises Refusal."""
    kept = sorted(set(models))
    if len(kept) > MOST_MODELS:
        raise Refusal(Kind.INVALID_REQUEST, f"models: at most {MOST_MODELS} can be listed", param="models")
    for model in kept:
        if not model or model != model.strip() or len(model) > _MODEL_LENGTH:
            raise Refusal(
                Kind.INVALID_REQUEST,
                f"models: {model[:_MODEL_LENGTH]!r} is not a model's name of at most {_MODEL_LENGTH} characters",
                param="models",
            )
    return kept


def listed_addresses(addresses: Iterable[str]) -> list[str]:
    """A key's list of addresses as it is kept: in the usual form, each once, in the order in which they came. Raises
    Refusal."""
    kept = list(dict.fromkeys(_usual(address) for address in addresses))
    if len(kept) > MOST_ADDRESSES:
        raise Refusal(Kind.INVALID_REQUEST, f"addresses: at most {MOST_ADDRESSES} can be listed", param="addresses")
    return kept


def _usual(address: str) -> str:
    try:
        network = ipaddress.ip_network(address.strip())
    except ValueError as error:  # it says which, and that of 10.0.0.1/8 one end too many is said
        raise Refusal(Kind.INVALID_REQUEST, f"addresses: {error}", param="addresses") from None
    alone = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if alone else str(network)
