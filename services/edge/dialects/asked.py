"""What a request asks for, whichever API it is made in: all that the relay has to know of it."""

from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from services.shared.errors import Kind, Refusal

MODEL_MAX_LENGTH: Final = 200
"""Names travel to auth and router: a long one would crowd out the questions of other requests."""
TOKENS_MAX: Final = (1 << 31) - 1
NOTHING: Final = msgspec.Raw(b"")


class Defaults(NamedTuple):
    """What stands where a request says nothing; tokens."""

    max_tokens: int
    """The brand's bound for a Messages request without one; 0: it is refused, as Anthropic does."""
    output_tokens: int
    """The bound of an OpenAI request without one that is not streamed, for it cannot be stopped half way."""
    thinking_tokens: int
    """What is held for thinking that is not bounded."""


_decode_names: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Request(msgspec.Struct):
    """What every API's requests have."""

    model: str


T = TypeVar("T", bound=Request)


class Asked(msgspec.Struct):
    """One request. Counts are tokens."""

    model: str
    max_tokens: int
    """It may produce so many."""
    stream: bool = False
    filled: int = 0
    """The bound that has to be put into it, because it sets none; 0 for nothing."""
    unseen: int = 0
    """Of them it may think so many without our seeing them."""
    choices: int = 1
    """So many answers, each of which may produce what the bound says."""
    wants_usage: bool = True
    """Whether a streamed chat completion should end with its usage."""
    session: str = ""
    """What the client calls the conversation; empty without a name."""
    beginning: tuple[msgspec.Raw, msgspec.Raw] = (NOTHING, NOTHING)
    """What stays the same from turn to turn."""

    @property
    def most_tokens(self) -> int:
        """What all answers together may produce."""
        return min(TOKENS_MAX, self.max_tokens * self.choices)

    def forget_beginning(self) -> None:
        """Lets go of the body, which it is a part of."""
        self.beginning = (NOTHING, NOTHING)


class Reader(Generic[T]):
    """Reads the requests of one API.

    Args:
        type_: has the fields that are looked at.
        passed_on: the names of those that the API has beside them. A request with no others is gone through once; one
            with names that nobody knows here once more, for what they are.
    """

    def __init__(self, type_: type[T], *passed_on: str) -> None:
        self._known = frozenset(type_.__struct_fields__)
        beside: list[tuple[str, type, msgspec.Raw]] = [(name, msgspec.Raw, NOTHING) for name in passed_on]
        whole = msgspec.defstruct(f"{type_.__name__}Whole", beside, bases=(type_,), forbid_unknown_fields=True)
        self._decode = msgspec.json.Decoder(type_).decode
        self._decode_whole = msgspec.json.Decoder(whole).decode

    def read(self, body: bytes) -> T:
        """What a body asks for. Raises Refusal that names the field."""
        try:
            request: T = self._decode_whole(body)  # type: ignore[assignment]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            request = self._look_through(body)
        if not request.model or len(request.model) > MODEL_MAX_LENGTH:
            raise fault("model", f"must be 1 to {MODEL_MAX_LENGTH} characters long")
        return request

    def _look_through(self, body: bytes) -> T:
        """A body that holds what is unknown, or wrong."""
        try:
            request, names = self._decode(body), _decode_names(body)
        except msgspec.ValidationError as error:
            field, message = _complaint(error)
            raise Refusal(Kind.INVALID_REQUEST, message, param=field) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refusal(Kind.INVALID_REQUEST, f"the body is not valid JSON: {error}") from None
        except RecursionError:
            raise Refusal(Kind.INVALID_REQUEST, "the body is nested too deeply") from None
        _refuse_other_cases(names, self._known)
        return request


def _refuse_other_cases(names: Iterable[str], known: frozenset[str]) -> None:
    """Some upstreams know fields in any case, the last of them counting (https://pkg.go.dev/encoding/json#Unmarshal):
    there "MODEL" would be another model than the one that is priced and allowed. Raises Refusal."""
    for name in names:
        if name not in known and name.casefold() in known:
            raise fault(name, f"is no field; {name.casefold()} is")


def bounded(field: str, tokens: int) -> int:
    """A number of tokens that may be asked for. Raises Refusal."""
    if tokens < 1:
        raise fault(field, "must be at least 1")
    if tokens > TOKENS_MAX:
        raise fault(field, f"must be at most {TOKENS_MAX}")
    return tokens


def fault(field: str, message: str) -> Refusal:
    """What is wrong with a field."""
    return Refusal(Kind.INVALID_REQUEST, f"{field}: {message}", param=field)


def _complaint(error: msgspec.ValidationError) -> tuple[str, str]:
    """msgspec's sentence in the words of the APIs: "Object missing required field `messages`". The field first."""
    text = str(error).replace(" | null", "")  # a field that may be left out
    if text.startswith("Object missing required field"):
        field = text.split("`")[1]
        return field, f"{field}: field is required"
    if " - at `$." in text:
        sentence, _, path = text.partition(" - at `$.")
        field = path.rstrip("`")
        return field, f"{field}: {sentence.lower()}"
    return "", "the body must be a JSON object" if text.startswith("Expected `object`") else text
