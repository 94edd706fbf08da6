"""How busy the event loop is: what is put off a little while the process is under pressure, because done together it
costs less."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from services.shared import clock

_LOOK_S: Final = 0.1
_NS_PER_S: Final = 1e9
_SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")
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
        wanted_s, at_s = _wanted_s(), clock.monotonic_s()
        while True:
            await asyncio.sleep(_LOOK_S)
            before_s, wanted_s = wanted_s, _wanted_s()
            then_s, at_s = at_s, clock.monotonic_s()
            self.demand = (wanted_s - before_s) / (at_s - then_s)


def _wanted_s() -> float:
    """How long this thread has run, and waited to run (https://docs.kernel.org/scheduler/sched-stats.html); where the
    kernel does not say, how long it has run."""
    with contextlib.suppress(OSError, ValueError):
        ran_ns, waited_ns, _ = _SCHEDSTAT.read_bytes().split()
        return (int(ran_ns) + int(waited_ns)) / _NS_PER_S
    return clock.thread_s()
