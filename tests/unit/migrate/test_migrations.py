"""Unit tests of the migrations that services.migrate runs: their names and their order."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import services.migrate
from services.migrate import SERVICES, role
from services.migrate.settings import MigrateSettings
from services.shared.settings import Secret, load

ROOT = Path(services.migrate.__file__).parent.parent
FILES = {service: sorted((ROOT / service / "migrations").glob("*.py")) for service in SERVICES}
PATHS = [path for files in FILES.values() for path in files]


def migration(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"migration_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_migration_is_named_after_its_revision(path: Path) -> None:
    match = re.fullmatch(r"(\d{4})_[a-z][a-z0-9_]*", path.stem)
    assert match is not None
    module = migration(path)
    assert module.revision == match[1]
    assert callable(module.upgrade)
    assert module.__doc__


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_migrations_follow_each_other_in_the_order_of_their_names(service: str) -> None:
    revisions = [migration(path) for path in FILES[service]]
    assert [module.revision for module in revisions] == [f"{number:04d}" for number in range(1, len(revisions) + 1)]
    assert [module.down_revision for module in revisions] == [None, *[module.revision for module in revisions[:-1]]]


def test_every_service_that_has_migrations_is_migrated() -> None:
    assert {path.parent.name for path in ROOT.glob("*/migrations")} == set(SERVICES)
    assert all(FILES.values())


def test_every_service_has_a_role_of_its_own() -> None:
    assert [role(service) for service in SERVICES] == [
        "tollhouse_auth",
        "tollhouse_router",
        "tollhouse_ledger",
        "tollhouse_console",
    ]


def test_only_passwords_that_are_set_are_given() -> None:
    settings = load(
        MigrateSettings,
        "migrate",
        {"TOLLHOUSE_MIGRATE_DATABASE_URL": "postgresql://x", "TOLLHOUSE_MIGRATE_ROUTER_PASSWORD": "sesame"},
    )
    assert settings.passwords() == {"router": "sesame"}
    every = MigrateSettings(Secret("x"), Secret("a"), Secret("b"), Secret("c"), Secret("d"))
    assert set(every.passwords()) == set(SERVICES)
