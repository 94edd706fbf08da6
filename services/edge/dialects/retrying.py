"""Headers that tell a client whether and when to ask again, the same in every API."""

from collections.abc import Mapping
from typing import Final

from services.shared.errors import Refusal

Headers = list[tuple[bytes, bytes]]

_NOT_TO_BE_RETRIED: Final = frozenset((401, 402, 403))
_RETRY_AFTER_S: Final[Mapping[int, bytes]] = {429: b"5", 503: b"2", 529: b"5"}


def retry_headers(refusal: Refusal) -> Headers:
    """In whole seconds, as the standard has it, and in milliseconds for the SDKs that read them."""
    status = refusal.kind.http_status
    if status in _NOT_TO_BE_RETRIED:
        return [(b"x-should-retry", b"false")]
    usual_s = _RETRY_AFTER_S.get(status)
    if usual_s is None:
        return []
    exact_ms = refusal.details.get("retry_after_ms", "")
    if not exact_ms.isdigit():
        return [(b"retry-after", usual_s)]
    return [(b"retry-after", b"%d" % -(-int(exact_ms) // 1000)), (b"retry-after-ms", exact_ms.encode())]
