"""Generates docs/CONFIG.md, ERRORS.md and METRICS.md from the code; with --check, fails when one of them is stale."""

import dataclasses
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from services import brand_file
from services.__main__ import SERVICES
from services.auth.brands import completed
from services.commands import CliSettings
from services.doctor.settings import DoctorSettings
from services.edge.brand import BUILT_IN, Brand, from_message
from services.edge.dialects import errors
from services.migrate.settings import MigrateSettings
from services.shared.addresses import Address
from services.shared.errors import Blame, Kind, Refusal
from services.shared.metrics import Instrument
from services.shared.settings import MISSING, Secret, variable

MEASURED = ("edge", "auth", "router", "ledger", "console")
DOCS = Path(__file__).resolve().parent.parent / "docs"

_CONFIG_HEAD = """\
# Settings

Generated from the code by `make docs`; do not edit.

Settings come from the environment, once, at start. A service reads `TOLLHOUSE_<SERVICE>_<FIELD>` and refuses to start
with a variable of its own that it does not know; all faults are said together.

**From a file.** With `_FILE` after its name a variable holds the path of a file that holds the value, as secrets are
mounted: `TOLLHOUSE_AUTH_KEY_PEPPER_FILE=/run/secrets/pepper`. White space around the value is cut off. Setting both is
a fault. This is so for every variable of the services, of `migrate` and of the commands, but not for the three of the
first table.

Numbers are within the bounds, ends included. `true`, `1`, `yes`, `on` and `false`, `0`, `no`, `off` are booleans.
Secrets show themselves nowhere.
"""
_PLAIN = (
    ("TOLLHOUSE_DATABASE_URL", "`tollhouse up` uses this Postgres instead of its own: `postgresql://user:password@host:port/database`"),
    ("TOLLHOUSE_NATS_URL", "`tollhouse up` uses this NATS instead of its own: `nats://user:password@host:port`"),
    ("TOLLHOUSE_STATE_DIR", "the state folder where `--state-dir` does not say; `.tollhouse` without"),
)  # fmt: skip
_ERRORS_HEAD = """\
# Errors

Generated from the code by `make docs`; do not edit.

Every way a call can be refused. A kind crosses gRPC in the trailer `tollhouse-error-bin` or in the result of an item,
as a `tollhouse.v1.ErrorDetail`; HTTP clients see its status and, in the body, the type of their API and a message with
the request id. How the body looks is in [API.md](API.md#errors). Where an upstream failed with 5xx and told a type that
says nothing about our account, that type stands instead in Anthropic's shape.

Whose fault: the *client's*, who should change the request; the *upstream's*, after other accounts were tried; *ours*.
"""
_APIS_HEAD = """\
## In the words of each API

The status is the same in all of them. Of no brand, or of one that has no words of its own for the kind.
"""
_BRANDS_HEAD = """\
## In the words of the example brands

Where [examples/brands](../examples/brands) say anything else than the tables above.
"""
_METRICS_HEAD = """\
# Metrics

Generated from the code by `make docs`; do not edit.

Every service serves them at `/metrics` of its operations port, in Prometheus' text format, or in OpenMetrics where the
scraper asks for that. Labels are bounded: names beyond the most that one may have are told as `other`. A histogram has
`_bucket`, `_sum` and `_count`; the unit of each metric stands last in its name. Names that begin with `gen_ai_`, `rpc_`
and `http_` are OpenTelemetry's, with its dots as underscores.

Beside these there are prometheus-client's own of the process: `process_resident_memory_bytes`,
`process_virtual_memory_bytes`, `process_cpu_seconds_total`, `process_start_time_seconds`, `process_open_fds` and
`process_max_fds`.

What to look at and what to do when one of them is off is in [RUNBOOK.md](RUNBOOK.md); dashboards are in
[deploy/grafana](../deploy/grafana), alerts in [deploy/prometheus](../deploy/prometheus).
"""

_BLAME = {Blame.CLIENT: "the client's", Blame.UPSTREAM: "the upstream's", Blame.OURS: "ours"}


def config() -> str:
    """docs/CONFIG.md."""
    parts = [_CONFIG_HEAD, "## Of `tollhouse up` and of every command\n", _table(("variable", "meaning"), _plain())]
    for name, (package, class_name) in SERVICES.items():
        parts += _settings(f"## {name}", name, getattr(import_module(f"{package}.settings"), class_name))
    parts += _settings("## `tollhouse migrate`", "migrate", MigrateSettings)
    parts += _settings("## Operator commands", "cli", CliSettings)
    parts += _settings("## `tollhouse doctor`", "doctor", DoctorSettings)
    return "\n".join(parts)


def error_page() -> str:
    """docs/ERRORS.md."""
    rows = [
        (
            f"`{kind.label}`",
            str(kind.http_status),
            kind.grpc_status.name,
            _anthropic_words(kind, BUILT_IN),
            _BLAME[kind.blame],
            kind.meaning,
        )
        for kind in Kind
    ]
    words = [
        (
            f"`{kind.label}`",
            _anthropic_words(kind, BUILT_IN),
            *(f"`{_error(kind, 'openai', BUILT_IN)[name]}`" for name in ("type", "code")),
            f"`{_error(kind, 'gemini', BUILT_IN)['status']}`",
        )
        for kind in Kind
    ]
    parts = [
        _ERRORS_HEAD,
        _table(("kind", "HTTP", "gRPC", "Anthropic's type", "whose fault", "meaning"), rows),
        _APIS_HEAD,
        _table(("kind", "Anthropic's type", "OpenAI's type", "OpenAI's code", "Gemini's status"), words),
        _BRANDS_HEAD,
    ]
    for path in sorted((DOCS.parent / "examples" / "brands").glob("*.toml")):
        brand = from_message(completed(brand_file.parse(path.read_text(encoding="utf-8"))))
        parts += [
            f"### {brand.name}\n",
            _table(("kind", "HTTP", "Anthropic's type", "OpenAI's type and code"), _own(brand)),
        ]
    return "\n".join(parts)


def metrics_page() -> str:
    """docs/METRICS.md."""
    parts = [_METRICS_HEAD]
    for title, instruments in measured().items():
        rows = [
            (f"`{one.shown}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.meaning)
            for one in instruments
        ]
        parts += [f"## {title}\n", _table(("metric", "kind", "labels", "meaning"), rows)]
    return "\n".join(parts)


def measured() -> dict[str, list[Instrument]]:
    """Every metric by the service that shows it: all that the modules declare."""
    shared = [one for name in ("metrics", "rpc") for one in declared(import_module(f"services.shared.{name}"))]
    services = {name: declared(import_module(f"services.{name}.metrics")) for name in MEASURED}
    return {"every service": shared, **services}


def declared(module: types.ModuleType) -> list[Instrument]:
    """The metrics that a module declares, in its order."""
    return [value for value in vars(module).values() if isinstance(value, Instrument)]


def _own(brand: Brand) -> list[tuple[str, ...]]:
    """The kinds that a brand has words or a status of its own for."""
    rows = []
    for kind in Kind:
        said, usual = (
            (
                str(errors.status_of(Refusal(kind, ""), whose)),
                _anthropic_words(kind, whose),
                " ".join(f"`{_error(kind, 'openai', whose)[name]}`" for name in ("type", "code")),
            )
            for whose in (brand, BUILT_IN)
        )
        if said != usual:
            rows.append((f"`{kind.label}`", *said))
    return rows


def _anthropic_words(kind: Kind, brand: Brand) -> str:
    error = _error(kind, "anthropic", brand)
    return f"`{error['type']}`" + (f", code `{error['code']}`" if "code" in error else "")


def _error(kind: Kind, api: errors.Api, brand: Brand) -> dict[str, Any]:
    error: dict[str, Any] = errors.error_object(Refusal(kind, ""), api, brand, "")["error"]
    return error


PAGES = {"CONFIG.md": config, "ERRORS.md": error_page, "METRICS.md": metrics_page}


def _plain() -> list[tuple[str, str]]:
    return [(f"`{name}`", meaning) for name, meaning in _PLAIN]


def _settings(title: str, service: str, cls: type[Any]) -> Iterator[str]:
    yield f"{title}\n"
    hints = typing.get_type_hints(cls)
    rows = [
        (
            f"`{variable(service, field.name)}`",
            _type_name(hints[field.name]),
            _default(field.default),
            _bounds(field.metadata.get("at_least"), field.metadata.get("at_most")),
            field.metadata["doc"],
        )
        for field in sorted(dataclasses.fields(cls), key=lambda field: field.kw_only)  # what many share comes last
    ]
    yield _table(("variable", "type", "default", "bounds", "meaning"), rows)


def _type_name(kind: Any) -> str:
    if isinstance(kind, types.UnionType):
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    return {
        str: "text",
        Address: "address",
        int: "integer",
        float: "number",
        bool: "boolean",
        Secret: "secret",
        Path: "path",
    }[kind]


def _default(value: Any) -> str:
    if value is MISSING:
        return "needed"
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"{low} to {high}"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main() -> None:
    stale = [name for name, page in PAGES.items() if _committed(DOCS / name) != page()]
    if "--check" in sys.argv:
        if stale:
            sys.exit(f"docs/ is stale ({', '.join(stale)}): run `make docs` and commit the result")
        return
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")


def _committed(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    main()
