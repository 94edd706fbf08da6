"""The owner that CloudNativePG makes may do what `tollhouse migrate` needs, and is no superuser."""

import sys
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from services.migrate import DOCTOR, SERVICES, migrate, role
from tests.deploy.compose import composed
from tests.deploy.manifests import of_kind

OWNER = "owner_of_a_cluster"


def test_an_owner_that_may_make_roles_is_enough_to_migrate() -> None:
    (cluster,) = of_kind("overlays/production", "Cluster")
    initdb = cluster["spec"]["bootstrap"]["initdb"]
    with (
        tempfile.TemporaryDirectory(prefix="tollhouse-postgres-") as folder,
        composed(Path(folder), Path(sys.prefix)) as composition,
    ):
        composition.ready("postgres")
        password = (Path(folder) / "secrets" / "postgres_owner").read_text()
        address = composition.services["postgres"].address
        with psycopg.connect(f"postgresql://tollhouse:{password}@{address}/postgres", autocommit=True) as superuser:
            superuser.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'owner'").format(sql.Identifier(OWNER)))
            superuser.execute(sql.SQL("CREATE DATABASE app OWNER {}").format(sql.Identifier(OWNER)))
            for statement in initdb["postInitSQL"]:
                superuser.execute(statement.replace(f"ROLE {initdb['owner']} ", f"ROLE {OWNER} "))
        url = f"postgresql://{OWNER}:owner@{address}/app"
        passwords = {service: f"password-of-{service}" for service in (*SERVICES, DOCTOR)}
        migrate(url, passwords)
        migrate(url, passwords)  # as every release does
        for service in SERVICES:
            own = f"postgresql://{role(service)}:password-of-{service}@{address}/app"
            with psycopg.connect(own) as connection:
                found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            assert found is not None
        with psycopg.connect(f"postgresql://{role(DOCTOR)}:password-of-doctor@{address}/app") as connection:
            for service in SERVICES:
                connection.execute(
                    sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(service, "alembic_version"))
                )
