"""What the doctor found. Pure."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How bad it is. A warning is something to look at; a fault is something that does not work, or soon will not."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    about: str
    """Which part of the deployment."""
    verdict: Verdict
    seen: str
    """What is so."""
    remedy: str = ""
    """What to do; empty when nothing is to be done."""


def ok(about: str, seen: str) -> Finding:
    """All is well."""
    return Finding(about, Verdict.OK, seen)


def warning(about: str, seen: str, remedy: str) -> Finding:
    """Something to look at."""
    return Finding(about, Verdict.WARNING, seen, remedy)


def fault(about: str, seen: str, remedy: str) -> Finding:
    """Something that does not work."""
    return Finding(about, Verdict.FAULT, seen, remedy)
