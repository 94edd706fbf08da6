"""A provider's API that speaks JSON over HTTPS."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, TypeVar

import aiohttp
import msgspec

from services.console.payments.payment import ProviderFailed
from services.shared.money import NANO_PER_DOLLAR

T = TypeVar("T")

TIMEOUT_S: Final = 8.0
_ANSWER_MOST: Final = 1024 * 1024


class JsonApi:
    """Calls of one provider."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        self._headers = dict(headers)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, kind: type[T], path: str, headers: Mapping[str, str] | None = None) -> T:
        """What GET answers. Raises ProviderFailed."""
        return await self._call("GET", kind, path, None, headers)

    async def post(self, kind: type[T], path: str, said: object) -> T:
        """What POST answers. Raises ProviderFailed."""
        return await self._call("POST", kind, path, said, None)

    async def close(self) -> None:
        """Closes connections."""
        if self._session is not None:
            await self._session.close()

    async def _call(self, method: str, kind: type[T], path: str, said: object, headers: Mapping[str, str] | None) -> T:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        body = None if said is None else msgspec.json.encode(said)
        sent = {**self._headers, "content-type": "application/json", **(headers or {})}
        try:
            async with self._session.request(
                method, self._url + path, data=body, headers=sent, allow_redirects=False
            ) as answer:
                text = await answer.content.read(_ANSWER_MOST)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderFailed(f"{method} {path}: {type(error).__name__}: {error}") from error
        if not 200 <= answer.status < 300:
            raise ProviderFailed(f"{method} {path} answered {answer.status}")
        try:
            return msgspec.json.decode(text, type=kind, strict=False)
        except msgspec.DecodeError as error:
            raise ProviderFailed(f"{method} {path} answered what is not understood: {error}") from error


def nano(amount: Decimal | None) -> int:
    """A provider's decimal dollars as nano-dollars; what is finer falls away."""
    try:
        return int((amount or Decimal()) * NANO_PER_DOLLAR)
    except (InvalidOperation, OverflowError):
        raise ProviderFailed(f"{amount} is no amount") from None


def decimal_text(amount: Decimal) -> str:
    """An amount for people, without zeros at its end and without an exponent."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
