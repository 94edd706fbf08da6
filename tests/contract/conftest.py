"""A brand a file: each test module says in PROMISED what its brand promises."""

import contextlib
import importlib
from collections.abc import Iterator

import pytest

from tests.contract.house import BY_ANTHROPIC, BY_OPENAI, BY_OPENROUTER, EMBEDDING, House
from tests.deployment import MODEL, Deployment, eventually
from tollhouse.v1 import router_pb2

for helper in ("answers", "clients", "keys", "lists", "pages", "refusals", "shapes"):
    pytest.register_assert_rewrite(f"tests.contract.{helper}")

EXAMPLES = ("buzz", "cc", "haze", "cheap")


@pytest.fixture(scope="session")
def kinds(tollhouse: Deployment) -> None:
    """Upstream accounts that speak one provider's API only."""
    openai = {BY_OPENAI: "gpt-5.2", EMBEDDING: "text-embedding-3-small"}
    tollhouse.account("only-anthropic", tollhouse.simulator_url, {BY_ANTHROPIC: MODEL})
    tollhouse.account("only-openai", tollhouse.simulator_url, openai, kind=router_pb2.UPSTREAM_KIND_OPENAI)
    openrouter = router_pb2.UPSTREAM_KIND_OPENROUTER
    tollhouse.account("only-openrouter", f"{tollhouse.simulator_url}/api", {BY_OPENROUTER: MODEL}, kind=openrouter)
    bearer = {"authorization": f"Bearer {tollhouse.key}"}
    eventually(
        lambda: BY_OPENROUTER in tollhouse.call("GET", "/v1/models", bearer).body.decode(), what="models are listed"
    )


@pytest.fixture(scope="module")
def house(request: pytest.FixtureRequest, tollhouse: Deployment, kinds: None) -> Iterator[House]:
    """The module's brand, applied as an operator does it."""
    with House(tollhouse, request.module.PROMISED).open() as opened:
        yield opened


@pytest.fixture(scope="module")
def houses(tollhouse: Deployment) -> Iterator[dict[str, House]]:
    """Every example at a time, by its name, for tests of what brands do alike."""
    with contextlib.ExitStack() as stack:
        promised = {name: importlib.import_module(f"tests.contract.test_{name}").PROMISED for name in EXAMPLES}
        yield {name: stack.enter_context(House(tollhouse, promised[name]).open()) for name in EXAMPLES}


@pytest.fixture(scope="module")
def key(house: House) -> str:
    """A key of the brand's, with money."""
    return house.tenant(dollars=100).key


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of `root` run once for everything that users of the brand put before `/v1`."""
    if "root" in metafunc.fixturenames:
        metafunc.parametrize("root", metafunc.module.PROMISED.roots)
