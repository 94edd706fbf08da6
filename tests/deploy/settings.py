"""The settings that deployments may name: what the services read."""

import dataclasses
from collections.abc import Mapping
from importlib import import_module

from services.__main__ import SERVICES
from services.commands import CliSettings
from services.doctor.settings import DoctorSettings
from services.migrate.settings import MigrateSettings
from services.shared.settings import MISSING, variable


def _classes() -> dict[str, type]:
    found: dict[str, type] = {"migrate": MigrateSettings, "cli": CliSettings}
    for name, (package, class_name) in SERVICES.items():
        found[name] = getattr(import_module(f"{package}.settings"), class_name)
    return found


CLASSES = _classes()


def known(service: str) -> set[str]:
    """Every variable that a service reads; those of the doctor too where commands are given."""
    read = {"cli": CLASSES["cli"], "doctor": DoctorSettings} if service == "cli" else {service: CLASSES[service]}
    names = {variable(name, field.name) for name, found in read.items() for field in dataclasses.fields(found)}
    return names | {f"{name}_FILE" for name in names}


def needed(service: str) -> set[str]:
    """The variables without which it does not start."""
    fields = dataclasses.fields(CLASSES[service])
    return {variable(service, field.name) for field in fields if field.default is MISSING}


def value(service: str, name: str, environment: Mapping[str, str]) -> str:
    """What a setting is there: as the environment says, else its default."""
    fields = {field.name: field.default for field in dataclasses.fields(CLASSES[service])}
    return environment.get(variable(service, name), str(fields[name]))


def faults(service: str, environment: Mapping[str, str]) -> list[str]:
    """What is wrong with an environment: variables of ours that nobody reads, needed ones that are missing."""
    ours = {name for name in environment if name.startswith("TOLLHOUSE_")}
    allowed = known(service) if service in CLASSES else set()
    missing = {
        name
        for name in (needed(service) if service in CLASSES else ())
        if not {name, f"{name}_FILE"} & environment.keys()
    }
    return [f"{name} is not a setting of {service}" for name in sorted(ours - allowed)] + [
        f"{name} is missing" for name in sorted(missing)
    ]
