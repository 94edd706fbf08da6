"""How busy the event loop is: what is put off a little while the process is under pressure, because done together it
costs less."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Final

from services.shared import clock

_LOOK_S: Final = 0.1
_NS_PER_S: Final = 1e9
_SCHEDSTAT: Final = "/proc/thread-self/schedstat"
_SCHEDSTAT_BYTES: Final = 128
_FROM: Final = 0.75
_GATHER_MIN_S: Final = 0.002
_GATHER_MAX_S: Final = 0.005


class Pressure:
    """How much of the time this thread ran or waited for its turn on a processor: at 1 the loop never sleeps, and
    everything waits for everything before it.

    Args:
        rest_s: how long a stream that was just read is not read again under pressure.
    """

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self.demand = 0.0

    def rest_s(self) -> float:
        """How long a stream that was just read should not be read again; 0 without pressure."""
        return self._rest_s if self.demand > _FROM else 0.0

    def gather_s(self) -> float:
        """How long a batch of questions waits for more to come."""
        return _GATHER_MAX_S if self.demand > _FROM else _GATHER_MIN_S

    async def run(self) -> None:
        """Measures until cancelled."""
        with _wanted() as wanted:
            wanted_s, at_s = wanted(), clock.monotonic_s()
            while True:
                await asyncio.sleep(_LOOK_S)
                before_s, wanted_s = wanted_s, wanted()
                then_s, at_s = at_s, clock.monotonic_s()
                self.demand = (wanted_s - before_s) / (at_s - then_s)


@contextlib.contextmanager
def _wanted() -> Iterator[Callable[[], float]]:
    """What tells how long this thread has run, and waited to run, in seconds
    (https://docs.kernel.org/scheduler/sched-stats.html); where the kernel does not say, how long it has run."""

    def wanted_s() -> float:
        with contextlib.suppress(OSError, ValueError):
            ran_ns, waited_ns, _ = os.pread(file, _SCHEDSTAT_BYTES, 0).split()
            return (int(ran_ns) + int(waited_ns)) / _NS_PER_S
        return clock.thread_s()

    try:
        file = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield clock.thread_s
        return
    try:
        yield wanted_s
    finally:
        os.close(file)
