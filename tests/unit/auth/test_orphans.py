"""Unit tests of services.auth.orphans."""

from services.auth.holds import Credit, Hold
from services.auth.orphans import orphaned_usage
from services.shared import ids
from services.shared.pricing import Rates
from tollhouse.v1 import events_pb2, types_pb2

RATES = Rates(7, 1_000, 1_000, 100, 1_000, 1_000, multiplier_ppm=900_000)


def hold_of(so_far: list[events_pb2.UsageEvent] | None) -> Hold:
    lies_in = (Credit("grant_1"), Credit("grant_2", "key_1"))
    return Hold(ids.request_id(), "key_1", "opus", RATES, 11, 50, lies_in, 60.0, "edge-0/a", 61, so_far)


def test_a_request_that_had_reached_no_upstream_is_charged_nothing() -> None:
    assert orphaned_usage("acme", hold_of([])) == []


def test_of_one_that_nothing_was_said_of_half_the_estimated_prompt_is_charged() -> None:
    hold = hold_of(None)
    (event,) = orphaned_usage("acme", hold)
    assert event.event_id == ids.event_id(hold.hold_id, ids.FIRST_ATTEMPT)
    assert event.tokens == types_pb2.TokenCounts(input=5)
    assert event.status == events_pb2.USAGE_STATUS_ORPHANED
    assert (event.estimated, event.final) == (True, True)
    assert (event.price_version, event.multiplier_ppm, event.held_nano) == (7, 900_000, 61)
    assert (event.grant_id, event.key_grant_id) == ("grant_1", "grant_2")
    assert (event.tenant_id, event.key_id, event.model) == ("acme", "key_1", "opus")
    assert event.created_ms == ids.created_ms(hold.hold_id)


def test_only_the_attempt_under_way_is_orphaned() -> None:
    ended = events_pb2.UsageEvent(event_id="a:1", status=events_pb2.USAGE_STATUS_OK)
    under_way = events_pb2.UsageEvent(event_id="a:2", estimated=True, final=True)
    events = orphaned_usage("acme", hold_of([ended, under_way]))
    assert events[0] == ended
    assert events[1].status == events_pb2.USAGE_STATUS_ORPHANED
    assert under_way.status != events_pb2.USAGE_STATUS_ORPHANED  # what the edge said is left as it was
