"""One deployment for the tests that only talk to it; tests that break things start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import Deployment, deployed


@pytest.fixture(scope="session")
def tollhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    state_dir: Path = tmp_path_factory.mktemp("tollhouse") / "state"
    with deployed(state_dir, TOLLHOUSE_EDGE_SILENCE_TIMEOUT_S="1.5", TOLLHOUSE_EDGE_BODY_TIMEOUT_S="1") as deployment:
        yield deployment
