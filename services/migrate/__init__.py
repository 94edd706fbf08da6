"""`tollhouse migrate`: a schema and a role for each service, that service's Alembic migrations, and the doctor's role.

Runs as the database's owner; the services themselves connect as their own role and see only their own schema. The
doctor reads what it looks at, in all of them, and nothing else.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

SERVICES: Final = ("auth", "router", "ledger", "console")
DOCTOR: Final = "doctor"
_LOOKED_AT: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "auth": {"keys": ("pepper_id", "hashed_at")},
    "ledger": {"grants": ("amount_nano", "spent_nano", "settled_nano", "expires_at")},
}
"""The columns that the doctor reads of a service's tables, beside the revision of each schema."""
_NEWEST: Final = "head"
_ROOT: Final = Path(__file__).resolve().parent.parent
_LOCK: Final = 0x70_6C_6C_68  # one migration at a time; the number is arbitrary, all releases must share it


def role(service: str) -> str:
    """The Postgres role of a service, or of the doctor."""
    return f"tollhouse_{service}"


def migrate(database_url: str, passwords: Mapping[str, str], revision: str = _NEWEST) -> None:
    """Brings every service's schema to the newest revision; does nothing when it is there already.

    Args:
        database_url: libpq URL of the database, as a role that may create roles and schemas.
        passwords: password of each role by the name of its service, or DOCTOR; one without keeps what it has.
        revision: where to stop on the way to the newest.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        _ensure_roles(connection, passwords)
        behind = [service for service in SERVICES if revision_of(connection, service) != newest_of(service)]
        for service in behind:
            _upgrade(database_url, service, revision)
        if revision == _NEWEST:
            for service in SERVICES:
                _show_doctor(connection, service)


def make_roles(database_url: str) -> None:
    """Makes what a dump needs before it can be restored: the roles, and each one's empty schema."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        _ensure_roles(connection, {})


def _ensure_roles(connection: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    for service in SERVICES:
        _ensure_role(connection, service, passwords.get(service))
        _ensure_schema(connection, service)
    _ensure_role(connection, DOCTOR, passwords.get(DOCTOR))


def _ensure_role(connection: psycopg.Connection, service: str, password: str | None) -> None:
    name = sql.Identifier(role(service))
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role(service),)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
    if password is not None:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(password)))


def _ensure_schema(connection: psycopg.Connection, service: str) -> None:
    name, schema = sql.Identifier(role(service)), sql.Identifier(service)
    connection.execute(sql.SQL("ALTER ROLE {} SET search_path = {}").format(name, schema))
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(schema, name))
    # By default nobody else has it. Where somebody gave it away: it is the one gate before all tables, later ones too.
    connection.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(schema))


def _show_doctor(connection: psycopg.Connection, service: str) -> None:
    """Lets the doctor read what it looks at of a schema, as its owner: whoever migrates need not be a superuser."""
    doctor = sql.Identifier(role(DOCTOR))
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role(service))))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(service), doctor))
        for table, columns in {"alembic_version": ("version_num",), **_LOOKED_AT.get(service, {})}.items():
            listed = sql.SQL(", ").join(map(sql.Identifier, columns))
            grant = sql.SQL("GRANT SELECT ({}) ON {} TO {}")
            connection.execute(grant.format(listed, sql.Identifier(service, table), doctor))


def revision_of(connection: psycopg.Connection, service: str) -> str | None:
    """The revision of a service's schema; None when there is none yet."""
    table = sql.Identifier(service, "alembic_version")
    exists = connection.execute("SELECT to_regclass(%s)", (f"{service}.alembic_version",)).fetchone()
    if exists is None or exists[0] is None:
        return None
    row = connection.execute(sql.SQL("SELECT version_num FROM {}").format(table)).fetchone()
    return None if row is None else str(row[0])


def newest_of(service: str) -> str:
    """The newest revision, which its file's name starts with: reading names is enough to see that nothing is to do."""
    names = sorted(path.name for path in (_ROOT / service / "migrations").glob("[0-9]*.py"))
    return names[-1].partition("_")[0]


def _upgrade(database_url: str, service: str, revision: str) -> None:
    from alembic import command  # half a second of imports that a start with nothing to migrate does not need
    from alembic.config import Config
    from sqlalchemy import create_engine, text

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("version_locations", str(_ROOT / service / "migrations"))
    config.set_main_option("path_separator", "os")
    url = "postgresql+psycopg" + database_url[database_url.index("://") :]
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"SET ROLE {role(service)}"))
        connection.execute(text(f"SET search_path = {service}"))
        config.attributes.update(connection=connection, schema=service)
        command.upgrade(config, revision)
    engine.dispose()
