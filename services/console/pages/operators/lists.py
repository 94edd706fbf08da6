"""Lists that are paged and searched: what a page's address says, and the links to the pages beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request

SHOWN: Final = 50
_VALUE_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of a list asks for: its filters by name, and the token that its page begins at."""

    path: str
    filters: Mapping[str, str]
    token: str

    def __getitem__(self, name: str) -> str:
        return self.filters.get(name, "")

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the list."""
        return any(self.filters.values())

    @property
    def first(self) -> str:
        """The first page; empty on that page."""
        return self._link("") if self.token else ""

    def onward(self, token: str) -> str:
        """The next page; empty at the end."""
        return self._link(token) if token else ""

    def _link(self, token: str) -> str:
        said = {name: value for name, value in {**self.filters, "after": token}.items() if value}
        return f"{self.path}?{urlencode(said)}" if said else self.path


def asked_of(request: Request, *filters: str) -> Asked:
    """What a request for a list asks for."""
    query = request.query_params
    values = {name: query.get(name, "").strip()[:_VALUE_LENGTH] for name in filters}
    return Asked(request.url.path, values, query.get("after", "")[:_VALUE_LENGTH])
