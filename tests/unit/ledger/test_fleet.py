"""Unit tests of services.ledger.fleet."""

from services.ledger.fleet import FORGOTTEN_S, Fleet
from services.shared.discovery import Announcement


def names(fleet: Fleet, now_s: float) -> list[str]:
    return [heard.announcement.replica for heard in fleet.members(now_s)]


def test_replicas_stand_by_service_and_name() -> None:
    fleet = Fleet()
    for service, name in (("router", "r"), ("edge", "e2"), ("edge", "e1")):
        fleet.heard(service, Announcement(name, "host:1"), 0)
    assert names(fleet, 1) == ["e1", "e2", "r"]


def test_what_was_said_last_counts() -> None:
    fleet = Fleet()
    fleet.heard("edge", Announcement("e", "host:1"), 0)
    fleet.heard("edge", Announcement("e", "host:2", leaving=True, figures={"requests": 3}), 5)
    (heard,) = fleet.members(6)
    assert (heard.announcement.address, heard.announcement.leaving, heard.at_s) == ("host:2", True, 5)


def test_a_silent_replica_is_seen_for_a_while_and_then_forgotten() -> None:
    fleet = Fleet()
    fleet.heard("edge", Announcement("e", "host:1"), 0)
    assert names(fleet, FORGOTTEN_S - 1) == ["e"]
    assert names(fleet, FORGOTTEN_S) == []
