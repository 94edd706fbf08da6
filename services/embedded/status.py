"""`tollhouse status`: every process with its health, memory and address."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from services.embedded.authority import operator
from services.embedded.health import healthy
from services.embedded.stack import probe_url
from services.embedded.state import NotRunning, ProcessState, RunState, Secrets, StateFolder
from services.shared.tls import Tls

_KIB_PER_MIB: Final = 1024


class ProcessStatus(msgspec.Struct, frozen=True):
    """One line of the table."""

    name: str
    pid: int | None
    health: str
    """healthy, unhealthy, or down when there is no process."""
    restarts: int
    memory_mb: float
    """Resident MiB, those of its own child processes included; pages that they share count once."""
    address: str
    uptime_s: int


def run(state_dir: Path, json: bool) -> int:
    """Prints it; answers 0 when everything is healthy, else 1."""
    try:
        state = RunState.read(state_dir)
    except NotRunning as error:
        if json:
            print("[]")
        print(f"tollhouse: {error}", file=sys.stderr)
        return 1
    folder = StateFolder(state_dir)
    secrets = Secrets.load(folder)
    tls = operator(folder.tls) if state.tls else None
    rows = asyncio.run(_rows(state, {"postgres": secrets.postgres, "nats": secrets.nats}, tls))
    print(msgspec.json.encode(rows).decode() if json else table(rows))
    return 0 if rows and all(row.health == "healthy" for row in rows) else 1


def table(rows: Sequence[ProcessStatus]) -> str:
    """The rows for people."""
    lines = [("NAME", "PID", "HEALTH", "RESTARTS", "MEMORY", "UPTIME", "ADDRESS")]
    for row in rows:
        memory, uptime = f"{row.memory_mb:.1f} MB", f"{row.uptime_s} s"
        lines.append((row.name, str(row.pid or "-"), row.health, str(row.restarts), memory, uptime, row.address))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


async def _rows(state: RunState, passwords: dict[str, str], tls: Tls | None) -> list[ProcessStatus]:
    answers = await asyncio.gather(
        *(healthy(probe_url(process, passwords), tls, process.part) for process in state.processes)
    )
    return [_row(process, answer) for process, answer in zip(state.processes, answers, strict=True)]


def _row(process: ProcessState, answer: bool) -> ProcessStatus:
    health = "down" if process.pid is None else "healthy" if answer else "unhealthy"
    return ProcessStatus(
        process.name,
        process.pid,
        health,
        process.restarts,
        _memory_mb(process.pid),
        process.address,
        _uptime_s(process.pid),
    )


def _memory_mb(pid: int | None) -> float:
    if pid is None:
        return 0.0
    kib = _status_kib(pid, "VmRSS") + sum(_status_kib(child, "RssAnon") for child in _children(pid))
    return round(kib / _KIB_PER_MIB, 1)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _status_kib(pid: int, name: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    except OSError:
        pass  # it ended just now
    return 0


def _uptime_s(pid: int | None) -> int:
    if pid is None:
        return 0
    try:
        # The name may hold blanks and brackets; the 22nd field of the whole is the 20th after it.
        started_ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        since_boot_s = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return 0
    return max(0, int(since_boot_s - started_ticks / os.sysconf("SC_CLK_TCK")))
