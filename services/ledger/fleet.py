"""Who is there: every process that announces itself, and what it last said of its work. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from services.shared.discovery import Announcement

FORGOTTEN_S: Final = 60.0
_REPLICAS_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Heard:
    """A replica's last announcement, and when it came, on the monotonic clock."""

    service: str
    announcement: Announcement
    at_s: float


class Fleet:
    """Replicas by service and name. One that is silent stays for a minute, so that its loss is seen."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str], Heard] = {}

    def heard(self, service: str, announcement: Announcement, now_s: float) -> None:
        """A replica said something."""
        key = (service, announcement.replica)
        if key not in self._heard and len(self._heard) >= _REPLICAS_MOST:
            return
        self._heard[key] = Heard(service, announcement, now_s)

    def members(self, now_s: float) -> Iterator[Heard]:
        """Those that were heard of in the last minute, by service and name."""
        self._heard = {key: heard for key, heard in self._heard.items() if now_s - heard.at_s < FORGOTTEN_S}
        for key in sorted(self._heard):
            yield self._heard[key]
