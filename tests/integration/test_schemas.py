"""What each service's role sees of the database: its own schema, and nothing of the others', now and later."""

import json
from collections.abc import Iterator
from typing import LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from services.doctor import database
from services.doctor.finding import Verdict
from services.embedded.health import with_credentials
from services.migrate import DOCTOR, SERVICES, migrate, role
from services.shared import ids
from tests.books import database_named, superuser_url
from tests.deployment import Deployment

RELATIONS = """
    SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
"""
LATER: LiteralString = """
    CREATE TABLE made_later (id bigint GENERATED ALWAYS AS IDENTITY, secret text DEFAULT 'x');
    CREATE VIEW seen_later AS SELECT * FROM made_later;
    CREATE FUNCTION asked_later() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
"""


class Roles:
    """A migrated database of its own, as each role sees it."""

    def __init__(self, url: str, passwords: dict[str, str]) -> None:
        self.url = url
        self._passwords = passwords

    def url_of(self, service: str) -> str:
        """Where a service, or the doctor, connects to."""
        return with_credentials(self.url, role(service), self._passwords[service])

    def connect(self, service: str) -> psycopg.Connection:
        """As a service connects."""
        return psycopg.connect(self.url_of(service), autocommit=True)

    def relations(self) -> list[tuple[str, str, str]]:
        """Schema, name and kind of everything in the schemas of the services."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(RELATIONS, (list(SERVICES),)).fetchall()


@pytest.fixture(scope="module")
def roles(tollhouse: Deployment) -> Iterator[Roles]:
    passwords = json.loads((tollhouse.state_dir / "secrets.json").read_text())
    with database_named(superuser_url(tollhouse), f"schemas_{ids.ulid()}".lower()) as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE SCHEMA router AUTHORIZATION tollhouse_router")
            connection.execute("GRANT ALL ON SCHEMA router TO PUBLIC")  # as whoever makes schemas by hand might
        migrate(url, {DOCTOR: "password-of-doctor"})
        yield Roles(url, {**passwords, DOCTOR: "password-of-doctor"})


@pytest.mark.parametrize("service", SERVICES)
def test_a_role_reads_and_writes_nothing_of_another_service(roles: Roles, service: str) -> None:
    relations = roles.relations()
    assert {schema for schema, _, _ in relations} == set(SERVICES)
    with roles.connect(service) as connection:
        for schema, name, kind in relations:
            relation = sql.Identifier(schema, name)
            if schema == service:
                connection.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(relation))
                continue
            refused(connection, sql.SQL("SELECT 1 FROM {}").format(relation))
            if kind != "S":
                refused(connection, sql.SQL("DELETE FROM {}").format(relation))


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_makes_later_is_its_own_as_well(roles: Roles, service: str) -> None:
    with roles.connect(service) as connection:
        connection.execute(LATER)
    for other in set(SERVICES) - {service}:
        with roles.connect(other) as connection:
            for name in ("made_later", "seen_later"):
                refused(connection, sql.SQL("SELECT * FROM {}").format(sql.Identifier(service, name)))
            refused(connection, sql.SQL("SELECT {}()").format(sql.Identifier(service, "asked_later")))


@pytest.mark.parametrize("service", SERVICES)
def test_a_role_makes_nothing_outside_its_schema_and_becomes_nobody_else(roles: Roles, service: str) -> None:
    others = [*(role(other) for other in SERVICES if other != service), urlsplit(roles.url).username or ""]
    with roles.connect(service) as connection:
        for schema in ("public", *(other for other in SERVICES if other != service)):
            refused(connection, sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(schema, "mine")))
        refused(connection, sql.SQL("CREATE SCHEMA mine"))
        refused(connection, sql.SQL("CREATE ROLE mine"))
        refused(connection, sql.SQL("CREATE DATABASE mine"))
        for other in others:
            refused(connection, sql.SQL("SET ROLE {}").format(sql.Identifier(other)))


def test_the_doctor_reads_what_it_looks_at_and_nothing_else_and_writes_nothing(roles: Roles) -> None:
    with roles.connect(DOCTOR) as connection:
        for schema, name, kind in roles.relations():
            relation = sql.Identifier(schema, name)
            if name != "alembic_version":
                refused(connection, sql.SQL("SELECT * FROM {}").format(relation))
            if kind != "S":
                refused(connection, sql.SQL("DELETE FROM {}").format(relation))
        for schema in ("public", *SERVICES):
            refused(connection, sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(schema, "mine")))
        for column in ("key_hash", "sealed", "tenant_id", "name"):
            refused(connection, sql.SQL("SELECT {} FROM auth.keys").format(sql.Identifier(column)))
        refused(connection, sql.SQL("SELECT tenant_id FROM ledger.grants"))
    findings = list(database.examine(roles.url_of(DOCTOR), skew_max_s=60))
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert {"grants", *(f"schema {service}" for service in SERVICES)} <= {finding.about for finding in findings}


def refused(connection: psycopg.Connection, query: sql.SQL | sql.Composed) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(query)
