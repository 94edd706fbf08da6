"""Metrics: declared once, counted in plain integers, put into Prometheus' words when somebody asks.

prometheus-client's own counters lock a mutex for each increment, 0.5 to 1 us, and look their labels up besides: too
much for what happens several times a request. So what counts is a dictionary or a list of ours, and the library
collects from them at a scrape (docs/adr/0032). Everything here belongs to one event loop; so does the scrape.
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from itertools import accumulate
from typing import Final, Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from services.shared import clock

OTHER: Final = "other"
"""What stands for all names beyond the most that a label may have."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of durations of our own work."""
ITEMS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Bounds of the sizes of batches."""

_LAG_EVERY_S: Final = 0.25

Labels = tuple[str, ...]
Reading = float | Iterable[tuple[Labels, float]]
"""A value, or one for each combination of labels."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is measured. Its unit stands last in its name; a counter is shown with `_total` after it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram: the upper bounds of its buckets, but for the last."""

    @property
    def shown(self) -> str:
        """The name that queries use; of a histogram that of its family."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def counter(name: str, meaning: str, *labels: str) -> Instrument:
    """Declares what only grows."""
    return Instrument(name, "counter", meaning, labels)


def gauge(name: str, meaning: str, *labels: str) -> Instrument:
    """Declares what rises and falls."""
    return Instrument(name, "gauge", meaning, labels)


def histogram(name: str, meaning: str, *labels: str, bounds: tuple[float, ...] = SECONDS) -> Instrument:
    """Declares what is spread over buckets."""
    return Instrument(name, "histogram", meaning, labels, bounds)


BUILD: Final = gauge("tollhouse_build_info", "always 1; the labels say what runs", "service", "version")
READY: Final = gauge("tollhouse_ready", "1 while /readyz answers 200, else 0", "service")
LOOP_LAG: Final = histogram(
    "tollhouse_loop_lag_seconds", "how late the event loop runs what is due, looked at four times a second", "service"
)
NATS_CONNECTED: Final = gauge("tollhouse_nats_connected", "1 while NATS is connected, else 0", "service")
DATABASE_WAITING: Final = gauge(
    "tollhouse_database_waiting", "how many wait for a connection to Postgres now", "service"
)
DATABASE_CONNECTIONS: Final = gauge(
    "tollhouse_database_connections", "connections to Postgres that are open, in use or idle", "service"
)


class Tally(defaultdict[Labels, float]):
    """A counter: `tally["messages", "2xx"] += 1`; with a comma after a single label."""

    def __init__(self) -> None:
        super().__init__(int)


class Distribution:
    """What was observed with one combination of labels."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket: the values up to a bound and above the one before; the last has no bound."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Histogram(dict[Labels, Distribution]):
    """A histogram: `histogram["messages",].observe(0.2)`."""

    def __init__(self, bounds: tuple[float, ...] = SECONDS, known: Mapping[Labels, Distribution] | None = None) -> None:
        super().__init__(known or {})
        self.bounds = bounds

    def __missing__(self, labels: Labels) -> Distribution:
        made = self[labels] = Distribution(self.bounds)
        return made


class Names:
    """Values of a label, so many at most: the others are told apart no more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The name, or `OTHER`."""
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name


class Exposition(Collector):
    """What one process shows at /metrics: its own metrics, and what the kernel knows of it.

    Args:
        service: its name, the value of the label `service`.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self._shown: list[tuple[Instrument, Callable[[], Reading]]] = []
        self._histograms: list[tuple[Instrument, Histogram]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self.loop_lag = self.histogram(LOOP_LAG)
        self.show(BUILD, lambda: [((service, metadata.version("tollhouse")), 1)])

    def tally(self, instrument: Instrument) -> Tally:
        """A counter to count in."""
        tally = Tally()
        self.show(instrument, tally.items)
        return tally

    def histogram(self, instrument: Instrument) -> Histogram:
        """A histogram to observe in."""
        made = Histogram(instrument.bounds)
        self._histograms.append((instrument, made))
        return made

    def add(self, instrument: Instrument, spread: Distribution) -> None:
        """Shows a histogram without labels that somebody else observes in."""
        self._histograms.append((instrument, Histogram(instrument.bounds, {(): spread})))

    def show(self, instrument: Instrument, read: Callable[[], Reading]) -> None:
        """Shows what somebody else knows: a counter or a gauge that is read at each scrape. Must not wait."""
        self._shown.append((instrument, read))

    def show_here(self, instrument: Instrument, read: Callable[[], float]) -> None:
        """The same for what every service has: under the label `service`."""
        self.show(instrument, lambda: [((self.service,), read())])

    @property
    def instruments(self) -> list[Instrument]:
        """Everything that is shown."""
        return [instrument for instrument, _ in (*self._shown, *self._histograms)]

    def collect(self) -> Iterator[Metric]:
        """Everything as it is now, for prometheus-client."""
        for instrument, read in self._shown:
            yield _values(instrument, read())
        for instrument, spread in self._histograms:
            yield _buckets(instrument, spread)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """What a scrape gets, and its content type, as the scraper's Accept header asks."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    async def watch_loop(self) -> None:
        """Looks how late the event loop is, until cancelled."""
        lag = self.loop_lag[self.service,]
        while True:
            due_s = clock.monotonic_s() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            lag.observe(max(0.0, clock.monotonic_s() - due_s))


def _values(instrument: Instrument, reading: Reading) -> Metric:
    family = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
    shown = family(instrument.name, instrument.meaning, labels=instrument.labels)
    for labels, value in [((), reading)] if isinstance(reading, int | float) else list(reading):
        shown.add_metric(labels, value)
    return shown


def _buckets(instrument: Instrument, spread: Histogram) -> Metric:
    shown = HistogramMetricFamily(instrument.name, instrument.meaning, labels=instrument.labels)
    bounds = [*map(floatToGoString, spread.bounds), "+Inf"]
    for labels, seen in list(spread.items()):
        shown.add_metric(labels, list(zip(bounds, accumulate(seen.counts), strict=True)), seen.sum)
    return shown
