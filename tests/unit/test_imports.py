"""Each service imports only what it uses: what it does not, costs memory, time to start, and room for mistakes."""

import os
import subprocess
import sys

import pytest

from services.__main__ import SERVICES

DATABASE = ("psycopg", "psycopg_pool")
MIGRATIONS = ("alembic", "mako", "sqlalchemy")
COMMANDS = (
    "services.billing_commands",
    "services.commands",
    "services.embedded",
    "services.migrate",
    "services.routing_commands",
    "services.tenant_commands",
    "services.usage_commands",
    "yaml",
)
TEMPLATES = ("jinja2",)
NOT_USED = {
    "console": (*MIGRATIONS, *COMMANDS, "nats"),
    "edge": (*DATABASE, *MIGRATIONS, *COMMANDS, *TEMPLATES, "cryptography", "jwt"),
    "auth": (*MIGRATIONS, *COMMANDS, *TEMPLATES, "jwt"),
    "router": (*MIGRATIONS, *COMMANDS, *TEMPLATES, "jwt"),
    "ledger": (*MIGRATIONS, *COMMANDS, *TEMPLATES),
    "simulator": (
        *DATABASE,
        *MIGRATIONS,
        *COMMANDS,
        *TEMPLATES,
        "aiohttp",
        "cryptography",
        "grpc",
        "jwt",
        "nats",
        "starlette",
    ),
}
# The command line up to the settings, which it is told to refuse, and then what it would run.
IMPORTED = """
import sys
from importlib import import_module
from services.__main__ import main
assert main([sys.argv[1]]) == 2
import_module(f"services.{sys.argv[1]}.app")
print(*sys.modules)
"""


def imported_by(service: str) -> set[str]:
    """Every module that a process of that service has imported when it begins to serve."""
    environment = os.environ | {f"TOLLHOUSE_{service.upper()}_PORT": "none"}
    command = [sys.executable, "-c", IMPORTED, service]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_nothing_that_it_does_not_use(service: str) -> None:
    others = {f"services.{other}" for other in SERVICES if other != service}
    assert not imported_by(service) & {*NOT_USED[service], *others}
