"""What processes cost, read from /proc: CPU, and memory."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

TICKS_A_S = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def tree(pids: Iterable[int]) -> Iterator[int]:
    """Processes that run, and all that descends from them."""
    todo = list(pids)
    while todo:
        pid = todo.pop()
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        yield pid
        todo += [int(child) for child in children]


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of processes and of their children that run."""
    ticks = 0
    for pid in tree(pids):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_A_S


def resident_mib(pids: Iterable[int]) -> float:
    """Resident memory of processes and of their children that run; what several share counts once for each."""
    return _status_mib(pids, "VmRSS:")


def own_mib(pids: Iterable[int]) -> float:
    """Resident memory that is theirs alone and no file's: what a leak makes grow. Postgres's buffers, which fill up to
    their size, and programs, which the kernel reads in as they are used, are not in it."""
    return _status_mib(pids, "RssAnon:")


def peak_mib(pid: int) -> float:
    """The most that was resident since the process began, or since `forget_peak`."""
    return _field_mib(pid, "VmHWM:")


def forget_peak(pid: int) -> None:
    """Has the kernel count the peak anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_mib(pids: Iterable[int], name: str) -> float:
    return sum(_field_mib(pid, name) for pid in tree(pids))


def _field_mib(pid: int, name: str) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(name)), 0.0)
