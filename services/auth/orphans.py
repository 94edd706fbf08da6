"""What to book for a request whose edge was lost. Pure."""

from services.auth.holds import Hold
from services.shared import ids
from tollhouse.v1 import events_pb2, types_pb2

_FAIR_SHARE = 2
"""Input is held for from above, at twice what is likely: that much of it is charged where nobody said better."""


def orphaned_usage(tenant_id: str, hold: Hold) -> list[events_pb2.UsageEvent]:
    """The attempts that the edge last told of, the one under way marked as orphaned; or, where it was lost before it
    told of any, one attempt that read the prompt. Nothing for a request that had not reached an upstream."""
    if hold.so_far is None:
        return [_unheard_of(tenant_id, hold)]
    events = []
    for said in hold.so_far:
        event = events_pb2.UsageEvent()
        event.CopyFrom(said)
        if event.final and event.estimated:
            event.status = events_pb2.USAGE_STATUS_ORPHANED
        events.append(event)
    return events


def _unheard_of(tenant_id: str, hold: Hold) -> events_pb2.UsageEvent:
    return events_pb2.UsageEvent(
        event_id=ids.event_id(hold.hold_id, ids.FIRST_ATTEMPT),
        request_id=hold.hold_id,
        attempt=ids.FIRST_ATTEMPT,
        tenant_id=tenant_id,
        key_id=hold.key_id,
        model=hold.model,
        status=events_pb2.USAGE_STATUS_ORPHANED,
        tokens=types_pb2.TokenCounts(input=hold.input_tokens // _FAIR_SHARE),
        estimated=True,
        price_version=hold.rates.price_version,
        multiplier_ppm=hold.rates.multiplier_ppm,
        grant_id=hold.grant_id,
        key_grant_id=hold.key_grant_id,
        held_nano=hold.amount_nano,
        created_ms=ids.created_ms(hold.hold_id) or 0,
        final=True,
    )
