"""What Python costs on a core that has just slept: the same work in a row, and after pauses.

    .venv/bin/python bench/cold.py

At light load every request and every event of a stream finds the caches of its core gone cold. This tells how much of
its cost that is on this machine, apart from anything that Tollhouse does.
"""

import os
import statistics
import time
from typing import Final

CORE: Final = 0
PAUSES_S: Final = (0.0, 0.0005, 0.002, 0.01, 0.02)
ROUNDS: Final = 200


def work() -> int:
    """Some Python as a request has it: small objects, a dict, calls."""
    fields = {}
    for number in range(60):
        fields[str(number)] = number * 2
    return sum(fields.values())


def cpu_us(pause_s: float) -> tuple[float, float]:
    """CPU of the work after a pause, and of the pause itself (to fall asleep and to wake up); medians, microseconds."""
    works, sleeps = [], []
    for _ in range(ROUNDS):
        begun_ns = time.thread_time_ns()
        if pause_s:
            time.sleep(pause_s)
        slept_ns = time.thread_time_ns()
        work()
        works.append(time.thread_time_ns() - slept_ns)
        sleeps.append(slept_ns - begun_ns)
    return statistics.median(works) / 1000, statistics.median(sleeps) / 1000


def main() -> None:
    os.sched_setaffinity(0, {CORE})
    cpu_us(0.0)
    print("| pause, ms | the work, us of CPU | to sleep and wake up, us of CPU |\n|---|---|---|")
    for pause_s in PAUSES_S:
        work_us, sleep_us = cpu_us(pause_s)
        print(f"| {pause_s * 1000:g} | {work_us:.1f} | {sleep_us:.1f} |")


if __name__ == "__main__":
    main()
