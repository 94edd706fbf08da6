"""docs/ARCHITECTURE.md names everything that services meet through."""

import re

from services.migrate import SERVICES, role
from services.shared import bus
from tests.docs.pages import ROOT, in_code, page

SAID = set(in_code(page("ARCHITECTURE.md")))


def words() -> set[str]:
    return {word for code in SAID for word in code.split()}


def test_every_subject_and_stream_is_named() -> None:
    names = {value for name, value in vars(bus).items() if name.isupper() and isinstance(value, str)}
    assert len(names) >= 8
    assert names <= words()


def test_every_schema_role_and_table_is_named() -> None:
    for service in SERVICES:
        assert {service, role(service)} <= SAID
        for migration in (ROOT / "services" / service / "migrations").glob("[0-9]*.py"):
            tables = set(re.findall(r"CREATE TABLE (\w+)", migration.read_text(encoding="utf-8")))
            assert tables <= SAID


def test_every_step_of_a_request_names_its_file() -> None:
    life = page("ARCHITECTURE.md").split("## The life of a request")[1].split("## Money")[0]
    for module in (ROOT / "services" / "edge").rglob("*.py"):
        beside = module.parent.name == "openapi"  # it describes requests, and takes no part in them
        if not beside and module.name not in ("__init__.py", "settings.py", "clients.py", "catalog.py", "openai.py"):
            assert module.name in life, f"{module.name} has no part in the life of a request"
