"""One deployment for the tests that only talk to it; tests that break things start their own."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from services.migrate import migrate
from services.shared import ids
from tests.books import Books, books_in, database_named, superuser_url
from tests.deployment import Deployment, deployed
from tests.shop import Shop, opened

# Where byte code must not be written, as images of Python have it, every process of every deployment would compile all
# of Tollhouse anew, which takes longer than everything else that it does to start.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile(
    "tollhouse", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tollhouse")


@pytest.fixture(scope="session")
def tollhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    state_dir: Path = tmp_path_factory.mktemp("tollhouse") / "state"
    impatient = {
        "FIRST_BYTE_TIMEOUT_S": "1.5",
        "SILENCE_TIMEOUT_S": "1.5",
        "ANSWER_TIMEOUT_S": "1.5",
        "BODY_TIMEOUT_S": "1",
    }
    with deployed(state_dir, **{f"TOLLHOUSE_EDGE_{name}": value for name, value in impatient.items()}) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Several of all that decides, for the tests that only talk to them."""
    options = ("--edges", "3", "--auths", "2", "--routers", "2")
    with deployed(tmp_path_factory.mktemp("fleet") / "state", *options) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened(tmp_path_factory.mktemp("shop") / "state") as made:
        yield made


@pytest.fixture(scope="session")
def books_template(tollhouse: Deployment) -> Iterator[str]:
    """The name of a migrated database without anything in it, on the deployment's Postgres."""
    with database_named(superuser_url(tollhouse), "books_template") as url:
        migrate(url, {})
        yield "books_template"


@pytest.fixture
async def books(tollhouse: Deployment, books_template: str) -> AsyncIterator[Books]:
    """Empty books, of this test alone."""
    name = f"books_{ids.ulid()}"
    with database_named(superuser_url(tollhouse), name, books_template) as url:
        async with books_in(url) as made:
            yield made
