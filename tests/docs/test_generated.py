"""docs/CONFIG.md and docs/ERRORS.md are what the code says."""

import dataclasses
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

from services.__main__ import SERVICES
from services.commands import CliSettings
from services.doctor.settings import DoctorSettings
from services.migrate.settings import MigrateSettings
from services.shared.errors import Kind
from services.shared.settings import MISSING, variable
from tests.docs.pages import ROOT, page, table_rows


def settings() -> dict[str, type[Any]]:
    """Every settings class by the part of the variable that names it."""
    found: dict[str, type[Any]] = {"migrate": MigrateSettings, "cli": CliSettings, "doctor": DoctorSettings}
    for name, (package, class_name) in SERVICES.items():
        found[name] = getattr(import_module(f"{package}.settings"), class_name)
    return found


def test_the_generated_pages_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr


def test_every_setting_is_documented_and_no_other() -> None:
    said = {cells[0].strip("`") for cells in table_rows(page("CONFIG.md")) if cells[0].startswith("`")}
    expected = {"TOLLHOUSE_DATABASE_URL", "TOLLHOUSE_NATS_URL", "TOLLHOUSE_STATE_DIR"}
    for name, cls in settings().items():
        expected |= {variable(name, field.name) for field in dataclasses.fields(cls)}
    assert said == expected


def test_every_variable_that_belongs_to_no_service_is_documented() -> None:
    import re

    for source in (ROOT / "services").rglob("*.py"):
        for name in re.findall(r"plain\(\"(TOLLHOUSE_\w+)\"\)", source.read_text(encoding="utf-8")):
            assert f"`{name}`" in page("CONFIG.md")


def test_every_setting_says_its_default_or_that_it_is_needed() -> None:
    rows = {cells[0].strip("`"): cells for cells in table_rows(page("CONFIG.md"))}
    for name, cls in settings().items():
        for field in dataclasses.fields(cls):
            default = rows[variable(name, field.name)][2]
            assert (default == "needed") == (field.default is MISSING)
            assert rows[variable(name, field.name)][4] == field.metadata["doc"].replace("|", "\\|")


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_every_error_kind_is_documented(kind: Kind) -> None:
    row = next(cells for cells in table_rows(page("ERRORS.md")) if cells[0] == f"`{kind.label}`")
    assert row[1:3] == [str(kind.http_status), kind.grpc_status.name]
    assert row[5] == kind.meaning
