"""The script of a request: how the simulator is to answer it. Pure.

`key=value` pairs parted by semicolons, in the header `x-simulator` or in the prompt as `[[sim key=value; ...]]`; the
header wins. docs/SIMULATOR.md lists the keys.
"""

import dataclasses
import re
from typing import Any, Final

_IN_PROMPT: Final = re.compile(r"\[\[sim ([^\]]*)\]\]")
STATUSES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    529: "overloaded_error",
}


class ScriptError(Exception):
    """A script that cannot be read; its text names the key."""


def key(doc: str, default: Any, low: float = 0, high: float = 1_000_000) -> Any:
    """Declares one key of the script: a sentence for docs/SIMULATOR.md, its default and bounds."""
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high})


@dataclasses.dataclass(frozen=True)
class Script:
    """What the keys say; a field each."""

    first_ms: float | None = key("milliseconds before the first byte", None)
    gap_ms: float | None = key("milliseconds between two events of a stream; 0 sends them all at once", None)
    tokens: int | None = key("output tokens, a word each; at most max_tokens", None, 1)
    input_tokens: int | None = key("input tokens; counted from the text otherwise", None)
    cache_read: int = key("tokens read from the cache", 0)
    cache_write_5m: int = key("tokens written to the cache for five minutes", 0)
    cache_write_1h: int = key("tokens written to the cache for one hour", 0)
    thinking: int = key("deltas of a thinking block that comes first", 0, 0, 10_000)
    tool: int = key("the answer ends with so many tool calls, unless the request ends with tools' results", 0, 0, 16)
    echo: int = key("1: the answer's text is what was understood of the request, as JSON", 0, 0, 1)
    status: int | None = key("answers with this status and an error body", None, 400, 599)
    message: str = key("the text of that error", "scripted")
    retry_after: int | None = key("seconds in the header retry-after", None)
    retry_after_date: int = key("1: retry-after is an HTTP date", 0, 0, 1)
    reset_s: int | None = key("seconds until the reset that the rate-limit headers tell", None)
    rl_limit: int = key("requests a minute that the rate-limit headers tell; 0 leaves all of them out", 4000)
    rl_remaining: int | None = key("requests that they tell are left; one less than the limit otherwise", None)
    rl_reset_s: int | None = key("seconds until requests are full again; reset_s otherwise", None)
    unified_reset_s: int | None = key("seconds until the unified reset; reset_s otherwise", None)
    error: str = key(
        "credit: our account there has no credit; signature: no signature of a thinking block is taken", ""
    )
    cut_after: int | None = key(
        "breaks the connection: a stream after so many events, a plain answer in the middle of its body;"
        " 0 after the headers, -1 before any byte",
        None,
        -1,
    )
    hang: str = key("before: never answers; after: falls silent after cut_after events", "")
    error_after: int | None = key("a stream ends with an error event after so many content deltas", None)
    error_first: int = key("1: a stream whose first event is an error", 0, 0, 1)
    error_type: str = key("the type of the error that a stream has first, or ends with", "overloaded_error")
    first_content_ms: float = key("milliseconds of silence in a stream between message_start and its content", 0)
    chunk: int = key("splits the stream into writes of so many bytes", 0)
    crlf: int = key("1: lines of the stream end with CRLF", 0, 0, 1)
    times: int = key("with id: only the first so many requests of that id are scripted", 0)
    id: str = key("names what times counts", "")
    only_credential: str = key("only requests with this credential are scripted", "")


_FIELDS: Final = {field.name: field for field in dataclasses.fields(Script)}


def parse(header: str, prompt: str) -> Script:
    """Reads the script of a request; NO_SCRIPT where it has none. Raises ScriptError."""
    found = _IN_PROMPT.search(prompt) if "[[sim " in prompt else None
    text = header or (found.group(1) if found else "")
    if not text:
        return NO_SCRIPT
    values: dict[str, Any] = {}
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = pair.partition("=")
        name = name.strip()
        if name not in _FIELDS or not equals:
            raise ScriptError(f"x-simulator: {name!r} is not a key")
        if name in values:
            raise ScriptError(f"x-simulator: {name} is there twice")
        values[name] = _value(name, value.strip())
    script = Script(**values)
    _check(script)
    return script


def _check(script: Script) -> None:
    if script.hang not in ("", "before", "after"):
        raise ScriptError("x-simulator: hang must be before or after")
    if script.hang == "after" and (script.cut_after is None or script.cut_after < 0):
        raise ScriptError("x-simulator: hang=after needs cut_after, of at least 0")
    if script.status is not None and script.status not in STATUSES:
        raise ScriptError(f"x-simulator: status must be one of {', '.join(map(str, STATUSES))}")
    if script.error not in ("", "credit", "signature"):
        raise ScriptError("x-simulator: error must be credit or signature")
    if script.error_type not in STATUSES.values():
        raise ScriptError(f"x-simulator: error_type must be one of {', '.join(dict.fromkeys(STATUSES.values()))}")
    if script.retry_after_date and script.retry_after is None:
        raise ScriptError("x-simulator: retry_after_date needs retry_after")
    if bool(script.id) != bool(script.times):
        raise ScriptError("x-simulator: id and times go together, and times is at least 1")


def _value(name: str, text: str) -> Any:
    field = _FIELDS[name]
    if isinstance(field.default, str):
        return text
    try:
        number = float(text) if name.endswith("_ms") else int(text)
    except ValueError:
        raise ScriptError(f"x-simulator: {name} must be a number") from None
    if not field.metadata["low"] <= number <= field.metadata["high"]:
        raise ScriptError(f"x-simulator: {name} must be {field.metadata['low']:g} to {field.metadata['high']:g}")
    return number


NO_SCRIPT: Final = Script()
