"""Forms: what a person typed, and what is wrong with it, for the page that shows it again."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

_SECRET = ("credential", "password", "old_password", "new_password", "code")


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form by name. Templates give it to the `field` macro."""

    values: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """By field; under the empty name what is wrong with the whole."""

    @classmethod
    async def read(cls, request: Request, *names: str) -> Form:
        """Those fields of a form that was sent; empty where they are missing."""
        sent = await request.form()
        return cls({name: value if isinstance(value := sent.get(name, ""), str) else "" for name in names})

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    def shown(self, name: str) -> str:
        """What the field shows when the page comes again: never a secret."""
        return "" if name in _SECRET else self.values.get(name, "")

    def error(self, name: str = "") -> str:
        """What is wrong with a field, or with the whole; empty when nothing is."""
        return self.errors.get(name, "")

    def wrong(self, name: str, why: str) -> Form:
        """Notes what is wrong, a sentence, and answers the form."""
        self.errors.setdefault(name, why)
        return self
