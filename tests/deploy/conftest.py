"""What the tests of deploy/ share. They need the tools that `make check-deploy` installs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import dockerfile


@pytest.fixture(scope="session")
def image() -> Iterator[Path]:
    """The environment of the image, made once."""
    folder = Path(tempfile.mkdtemp(prefix="tollhouse-image-"))
    try:
        yield dockerfile.build(folder)
    finally:
        dockerfile.remove(folder)
