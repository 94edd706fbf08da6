"""Upstream accounts that would have the gateway ask itself, or its own network, for things."""

from collections.abc import Iterator

import pytest

from tests.deployment import MODEL, Deployment, deployed


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that denies private addresses at its edges."""
    with deployed(tmp_path_factory.mktemp("strict") / "state", TOLLHOUSE_EDGE_PRIVATE_UPSTREAMS="false") as made:
        yield made


def test_an_edge_says_nothing_to_a_private_address_that_is_stored_all_the_same(strict: Deployment) -> None:
    before = strict.served()
    answer = strict.messages(strict.key, model=MODEL)
    assert answer.status in (502, 503)
    assert strict.served() == before
