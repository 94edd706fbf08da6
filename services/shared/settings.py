"""Settings: one frozen dataclass a service, read once from `TOLLHOUSE_<SERVICE>_<FIELD>`.

The only module that reads the environment. `TOLLHOUSE_<SERVICE>_<FIELD>_FILE` names a file that holds the value
instead, as secrets are mounted. All faults are reported together.
"""

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

PREFIX: Final = "TOLLHOUSE"
MISSING: Final = dataclasses.MISSING

T = TypeVar("T")


class SettingsError(Exception):
    """One or more settings are missing, malformed or unknown. Its text has a line for each."""


class Secret:
    """A string that does not show itself in logs and tracebacks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def each(self) -> list["Secret"]:
        """The secrets that stand in it between commas."""
        return [Secret(part.strip()) for part in self._value.split(",") if part.strip()]

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def setting(doc: str, *, default: Any = MISSING, at_least: float | None = None, at_most: float | None = None) -> Any:
    """Declares one setting: a sentence for docs/CONFIG.md, its default, and its bounds if it is a number."""
    metadata = {"doc": doc, "at_least": at_least, "at_most": at_most}
    if default is MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def variable(service: str, field: str) -> str:
    """The environment variable that holds `field` of `service`."""
    return f"{PREFIX}_{service}_{field}".upper()


def load(cls: type[T], service: str, environment: Mapping[str, str] | None = None) -> T:
    """Reads the settings of `service`. Raises SettingsError that names every fault."""
    env = os.environ if environment is None else environment
    faults: list[str] = []
    values: dict[str, Any] = {}
    known: set[str] = set()
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = variable(service, field.name)
        known |= {name, f"{name}_FILE"}
        try:
            text = _text(env, name)
            if text is None:
                if field.default is MISSING:
                    faults.append(f"{name} is not set: {field.metadata.get('doc', field.name)}")
                continue
            values[field.name] = _bounded(_parse(hints[field.name], text), field.metadata)
        except (ValueError, OSError) as error:
            faults.append(f"{name}: {error}")
    prefix = variable(service, "")
    faults += [
        f"{name} is not a setting of {service}" for name in sorted(env) if name.startswith(prefix) and name not in known
    ]
    if faults:
        raise SettingsError("\n".join(faults))
    return cls(**values)


def plain(name: str) -> str | None:
    """A variable that belongs to no service, such as TOLLHOUSE_DATABASE_URL; None when absent or empty."""
    return os.environ.get(name) or None


def _text(env: Mapping[str, str], name: str) -> str | None:
    if f"{name}_FILE" in env:
        if name in env:
            raise ValueError(f"set it or {name}_FILE, not both")
        return Path(env[f"{name}_FILE"]).read_text(encoding="utf-8").strip()
    return env.get(name)


def _parse(kind: Any, text: str) -> Any:
    if isinstance(kind, types.UnionType):  # X | None: an empty value means None
        if not text:
            return None
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    if kind is bool:
        if text.lower() in ("true", "1", "yes", "on"):
            return True
        if text.lower() in ("false", "0", "no", "off"):
            return False
        raise ValueError(f"{text!r} is neither true nor false")
    if kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is not a finite number")
        return number
    if kind is Secret and not text:
        raise ValueError("is empty")
    return kind(text)


def _bounded(value: Any, metadata: Mapping[str, Any]) -> Any:
    low, high = metadata.get("at_least"), metadata.get("at_most")
    if isinstance(value, int | float):
        if low is not None and value < low:
            raise ValueError(f"{value} is below {low}")
        if high is not None and value > high:
            raise ValueError(f"{value} is above {high}")
    return value
