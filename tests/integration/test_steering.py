"""Upstreams say in the headers of their answers how much of their limits is left: load is steered by it before any of
them has to refuse."""

import itertools
from collections.abc import Iterator

import pytest

from tests.deployment import Deployment, Tenant, eventually, request
from tests.upstreams import begun_by, delete_upstream, put_upstream

NEW_CONVERSATIONS = 30


class Pair:
    """Two upstream accounts that are alike and serve one model; conversations with it."""

    def __init__(self, tollhouse: Deployment, kind: str, tenant: Tenant) -> None:
        self.model = f"steered-{kind}"
        self._tollhouse, self._tenant = tollhouse, tenant
        self._numbers = itertools.count()
        self.names = [f"{self.model}-{name}" for name in ("one", "other")]
        self.one, self.other = (
            put_upstream(tollhouse, name, kind, {self.model: "claude-sonnet-4-6"}) for name in self.names
        )

    def begin(self) -> int:
        """A new conversation; its number."""
        number = next(self._numbers)
        self.go_on(number)
        return number

    def go_on(self, number: int) -> None:
        """A turn of a conversation, which succeeds."""
        said = [{"role": "user", "content": f"conversation {number}"}]
        answer = self._tollhouse.messages(self._tenant.key, model=self.model, messages=said)
        assert answer.status == 200, answer.body

    def begin_at(self, credential: str) -> int:
        """A new conversation that went to one account; its number."""
        found: list[int] = []

        def came() -> bool:
            before = self.begun(credential)
            number = self.begin()
            found[:] = [number] if self.begun(credential) > before else []
            return bool(found)

        eventually(came, what=f"a conversation begins at {credential}")
        return found[0]

    def begun(self, credential: str) -> int:
        """How many requests went to an account."""
        return begun_by(self._tollhouse, credential)

    def behave(self, credential: str, script: str) -> None:
        """All requests of an account are answered so from now on."""
        path = f"/__behaviour/{credential}"
        assert request(self._tollhouse.simulator_url, "PUT", path, body=script.encode()).status == 200

    def end(self) -> None:
        """Takes the accounts away again."""
        for name, credential in zip(self.names, (self.one, self.other), strict=True):
            request(self._tollhouse.simulator_url, "DELETE", f"/__behaviour/{credential}")
            delete_upstream(self._tollhouse, name)


@pytest.fixture(params=["anthropic", "openai"])
def pair(tollhouse: Deployment, request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(tollhouse, request.param, tollhouse.tenant())
    made.begin_at(made.one)
    made.begin_at(made.other)
    yield made
    made.end()


def test_new_conversations_go_elsewhere_while_little_is_left_and_begun_ones_stay(pair: Pair) -> None:
    pair.behave(pair.one, "rl_limit=1000; rl_remaining=20; rl_reset_s=600")
    at_home = pair.begin_at(pair.one)
    told = pair.begun(pair.one)
    for _ in range(NEW_CONVERSATIONS):
        pair.begin()
    assert pair.begun(pair.one) == told
    pair.go_on(at_home)  # its prompt is cached there
    assert pair.begun(pair.one) == told + 1
    pair.behave(pair.one, "status=429; retry_after=600")
    for _ in range(NEW_CONVERSATIONS):
        pair.begin()
    assert pair.begun(pair.one) == told + 1


def test_where_nothing_is_left_begun_conversations_move_before_they_are_refused(pair: Pair) -> None:
    pair.behave(pair.one, "rl_limit=1000; rl_remaining=0; rl_reset_s=600")
    at_home = pair.begin_at(pair.one)
    pair.behave(pair.one, "status=429; retry_after=600")
    told, others = pair.begun(pair.one), pair.begun(pair.other)
    pair.go_on(at_home)
    assert (pair.begun(pair.one), pair.begun(pair.other)) == (told, others + 1)


@pytest.mark.parametrize("remaining", [0, 20])
def test_after_the_reset_new_conversations_come_back(pair: Pair, remaining: int) -> None:
    pair.behave(pair.one, f"rl_limit=1000; rl_remaining={remaining}; rl_reset_s=2")
    pair.begin_at(pair.one)
    pair.behave(pair.one, "rl_limit=1000")
    pair.begin_at(pair.one)


def test_where_little_is_left_everywhere_every_account_goes_on(pair: Pair) -> None:
    for credential in (pair.one, pair.other):
        pair.behave(credential, "rl_limit=1000; rl_remaining=20; rl_reset_s=600")
        pair.begin_at(credential)
    begun = [pair.begun(credential) for credential in (pair.one, pair.other)]
    for _ in range(NEW_CONVERSATIONS):
        pair.begin()
    assert all(pair.begun(one) > before for one, before in zip((pair.one, pair.other), begun, strict=True))
