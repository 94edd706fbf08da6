"""Static files under names that hold their hash, so that browsers may keep them for good."""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "static"
PREFIX: Final = "/static/"
_HASH_CHARS: Final = 12
_SERVED: Final = (".css", ".js", ".svg", ".woff2")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    content: bytes
    media_type: str


class Assets:
    """Every file of a folder, in memory."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._urls: dict[str, str] = {}
        self._by_name: dict[str, Asset] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix in _SERVED:
                self._add(path.relative_to(folder), path.read_bytes())

    @property
    def urls(self) -> Mapping[str, str]:
        """The URL of each file by its path in the folder."""
        return self._urls

    def url(self, name: str) -> str:
        """Where `vendor/htmx.min.js` is served. Raises KeyError."""
        return self._urls[name]

    def get(self, name: str) -> Asset | None:
        """The file of a hashed name."""
        return self._by_name.get(name)

    def _add(self, path: Path, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()[:_HASH_CHARS]
        hashed = path.with_name(f"{path.stem}.{digest}{path.suffix}").as_posix()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        text = kind.startswith("text/")
        self._by_name[hashed] = Asset(content, f"{kind}; charset=utf-8" if text else kind)
        self._urls[path.as_posix()] = PREFIX + hashed
