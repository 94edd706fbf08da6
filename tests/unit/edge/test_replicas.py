"""Unit tests of services.edge.replicas."""

import pytest

from services.edge import replicas
from services.edge.replicas import Replica, Replicas
from services.shared.discovery import Announcement
from services.shared.errors import Kind, Refusal


class Talk(Replica):
    """A conversation that the test only looks at."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.up = True
        self.started = self.closed = False

    def start(self) -> None:
        self.started = True

    async def close(self, flush_s: float = 5) -> None:
        self.closed = True


class Fleet:
    def __init__(self, *names: str) -> None:
        self.moves = 0
        self.replicas: Replicas[Talk] = Replicas(Talk, Kind.AUTH_UNAVAILABLE, self.moved)
        for name in names:
            self.hear(name)

    def moved(self) -> None:
        self.moves += 1

    def hear(self, name: str, address: str = "here:1", leaving: bool = False) -> None:
        self.replicas.heard(Announcement(name, address, leaving))

    def owners(self, count: int = 300) -> dict[str, str]:
        return {f"t{number}": self.replicas.owner(f"t{number}").name for number in range(count)}


def test_without_a_replica_there_is_nobody_to_ask() -> None:
    fleet = Fleet()
    for ask in (fleet.replicas.any, lambda: fleet.replicas.owner("t")):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.kind is Kind.AUTH_UNAVAILABLE


def test_a_replica_that_says_the_same_again_is_the_same() -> None:
    fleet = Fleet("a", "b", "a")
    assert [member.name for member in fleet.replicas.members] == ["a", "b"]
    assert all(member.started for member in fleet.replicas.members)


def test_every_edge_names_the_same_owner_in_whatever_order_it_heard_of_them() -> None:
    assert Fleet("a", "b", "c").owners() == Fleet("c", "a", "b").owners()


def test_owners_share_alike_and_only_the_lost_ones_share_moves() -> None:
    fleet = Fleet("a", "b", "c")
    before = fleet.owners(3000)
    assert all(800 < list(before.values()).count(name) < 1200 for name in "abc")
    fleet.hear("b", leaving=True)
    after = fleet.owners(3000)
    assert {tenant for tenant in before if before[tenant] != after[tenant]} == {
        tenant for tenant in before if before[tenant] == "b"
    }
    assert fleet.moves == 1


def test_a_replica_that_joins_takes_its_share_at_once_and_nothing_else_moves() -> None:
    fleet = Fleet("a", "b")
    before = fleet.owners()
    fleet.hear("c")
    moved = {owner for tenant, owner in fleet.owners().items() if owner != before[tenant]}
    assert moved == {"c"}
    assert fleet.owners() == Fleet("a", "b", "c").owners()


def test_no_more_orders_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "_ORDERS_MAX", 10)
    assert Fleet("a", "b").owners() == Fleet("b", "a").owners()


def test_a_replica_that_does_not_answer_is_passed_over_until_it_does() -> None:
    fleet = Fleet("a", "b")
    before = fleet.owners()
    lost = next(member for member in fleet.replicas.members if member.name == "a")
    lost.up = False
    assert set(fleet.owners().values()) == {"b"}
    lost.up = True
    assert fleet.owners() == before


def test_the_next_in_order_is_another_one_while_there_is_one() -> None:
    fleet = Fleet("a", "b")
    owner = fleet.replicas.owner("t")
    assert fleet.replicas.owner("t", other_than=owner) is not owner
    fleet.hear(next(m.name for m in fleet.replicas.members if m is not owner), leaving=True)
    assert fleet.replicas.owner("t", other_than=owner) is owner


def test_the_last_one_that_leaves_is_asked_as_long_as_it_answers() -> None:
    fleet = Fleet("a")
    last = fleet.replicas.owner("t")
    fleet.hear("a", leaving=True)
    assert last.leaving
    assert fleet.replicas.owner("t") is last
    last.up = False
    with pytest.raises(Refusal):
        fleet.replicas.owner("t")


def test_a_replica_at_another_address_is_another_one() -> None:
    fleet = Fleet("a")
    before = fleet.replicas.any()
    fleet.hear("a", "there:2")
    assert fleet.replicas.any() is not before
    assert before.leaving
    assert [member.address for member in fleet.replicas.members] == ["there:2"]


def test_callers_of_a_lost_replica_are_sent_away_only_while_another_answers() -> None:
    fleet = Fleet("a", "b")
    first, second = fleet.replicas.members
    first.up = False
    assert fleet.replicas.answering
    second.up = False
    assert not fleet.replicas.answering
