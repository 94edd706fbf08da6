"""What the ledger measures."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from services.ledger.consumer import DELAYS_S, Consumer
from services.ledger.fleet import Fleet
from services.ledger.lag import Lag
from services.ledger.store.booking import BookingStore
from services.shared import clock
from services.shared.metrics import Exposition, Labels, Tally, counter, gauge, histogram
from services.shared.money import NANO_PER_DOLLAR

BOOKED: Final = counter(
    "tollhouse_ledger_events_booked", "usage events that were booked; what was booked before is not"
)
BOOKINGS: Final = histogram("tollhouse_ledger_booking_duration_seconds", "how long booking transactions took")
DELAY: Final = histogram(
    "tollhouse_ledger_booking_delay_seconds",
    "how old the oldest message of a booking was in JetStream when it was booked",
    bounds=DELAYS_S,
)
PARKED: Final = counter("tollhouse_ledger_parked", "messages put among the dead letters by this replica")
UNPARKED: Final = counter(
    "tollhouse_ledger_unparked",
    "times that a message could not be put among the dead letters, and stayed among usage to come again",
)
REVENUE: Final = counter("tollhouse_ledger_revenue_dollars", "what booked usage cost tenants, shortfall included")
UPSTREAM_COST: Final = counter("tollhouse_ledger_upstream_cost_dollars", "what booked usage costs us upstream")
SHORTFALL: Final = counter(
    "tollhouse_ledger_shortfall_dollars", "usage that no balance paid for, as it was booked; corrections come later"
)
UNBOOKED: Final = gauge("tollhouse_ledger_unbooked_messages", "usage messages in JetStream that are not booked")
LAG: Final = gauge("tollhouse_ledger_booking_lag_seconds", "how long the oldest of them has waited; 0 without any")
DEAD_LETTERS: Final = gauge("tollhouse_ledger_dead_letters", "messages among the dead letters")
GRANTS_EXPIRED: Final = counter(
    "tollhouse_ledger_grants_expired", "credit grants that this replica ended because their holder was gone"
)
REPLICAS: Final = gauge(
    "tollhouse_ledger_fleet_replicas", "replicas of a service that said within 5 s that they are there", "service"
)
SILENT: Final = gauge(
    "tollhouse_ledger_fleet_silent",
    "replicas that fell silent within the last minute without having said that they leave",
    "service",
)

_SILENT_S: Final = 5.0


def show(
    exposition: Exposition, bookings: BookingStore, consumer: Consumer, lag: Lag, fleet: Fleet, expired: Tally
) -> None:
    """Shows what the parts of the ledger count."""
    exposition.show(BOOKED, lambda: bookings.totals.events)
    exposition.add(BOOKINGS, bookings.durations)
    exposition.add(DELAY, consumer.delays)
    exposition.show(PARKED, lambda: consumer.parked)
    exposition.show(UNPARKED, lambda: consumer.unparked)
    exposition.show(REVENUE, lambda: bookings.totals.cost_nano / NANO_PER_DOLLAR)
    exposition.show(UPSTREAM_COST, lambda: bookings.totals.upstream_cost_nano / NANO_PER_DOLLAR)
    exposition.show(SHORTFALL, lambda: bookings.totals.shortfall_nano / NANO_PER_DOLLAR)
    exposition.show(UNBOOKED, lambda: lag.behind.messages)
    exposition.show(LAG, lambda: lag.behind.oldest_ms / clock.MS_PER_S)
    exposition.show(DEAD_LETTERS, lambda: lag.behind.dead_letters)
    exposition.show(GRANTS_EXPIRED, expired.items)
    exposition.show(REPLICAS, lambda: _replicas(fleet, silent=False))
    exposition.show(SILENT, lambda: _replicas(fleet, silent=True))


def _replicas(fleet: Fleet, *, silent: bool) -> Iterator[tuple[Labels, float]]:
    now_s = clock.monotonic_s()
    counts: Counter[str] = Counter()
    for heard in fleet.members(now_s):
        fell_silent = now_s - heard.at_s > _SILENT_S
        counts[heard.service] += fell_silent == silent and not heard.announcement.leaving
    for service, count in counts.items():
        yield (service,), count
