"""PromQL as the tests look at it: which metrics, labels and functions a query uses."""

import re
from collections.abc import Iterator
from typing import Final

from scripts.generate_docs import measured
from services.shared.metrics import Instrument

PROCESS: Final = frozenset(
    ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_start_time_seconds")
)
"""Of prometheus-client."""
TARGET: Final = frozenset(("instance", "job", "le"))
"""Labels that a scrape or a histogram adds."""
_WORDS: Final = frozenset(
    (
        "and",
        "or",
        "unless",
        "by",
        "sum",
        "max",
        "min",
        "count",
        "rate",
        "increase",
        "histogram_quantile",
        "max_over_time",
    )
)
_QUOTED: Final = re.compile(r'"[^"]*"')
_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_BY: Final = re.compile(r"\bby\s*\(([^)]*)\)")
_NAME: Final = re.compile(r"[a-zA-Z_:][\w:]*")


def samples() -> dict[str, Instrument]:
    """Every name that a query may use, with what is measured."""
    found: dict[str, Instrument] = {}
    for instruments in measured().values():
        for instrument in instruments:
            endings = ("_bucket", "_sum", "_count") if instrument.kind == "histogram" else ("",)
            found |= {instrument.shown + ending: instrument for ending in endings}
    return found


def faults(query: str, recorded: frozenset[str] = frozenset()) -> Iterator[str]:
    """What is wrong with a query. `recorded` is what recording rules make."""
    known = samples()
    for opening, closing in ("()", "{}", "[]"):
        if query.count(opening) != query.count(closing):
            yield f"{opening} and {closing} are not even"
    for name, selection in _SELECTOR.findall(query):
        for label in _LABEL.findall(selection):
            if label not in TARGET | set(known[name].labels if name in known else ()):
                yield f"{name} has no label {label}"
    labels = {label for instrument in known.values() for label in instrument.labels} | TARGET
    for grouped in _BY.findall(query):
        for label in grouped.split(","):
            if label.strip() not in labels:
                yield f"nothing has a label {label.strip()}"
    bare = _BY.sub("", re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", _QUOTED.sub("", query)))
    for name in _NAME.findall(re.sub(r"\b\d[\w.]*", "", bare)):
        if name not in known and name not in _WORDS | PROCESS | recorded:
            yield f"there is no {name}"
