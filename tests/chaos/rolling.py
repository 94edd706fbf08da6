"""Processes of a deployment ended one by one, each waited for until its successor is ready."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from services.embedded.health import healthy
from services.embedded.stack import probe_url
from services.embedded.state import RunState
from tests.chaos.audit import secrets
from tests.deployment import Deployment

SETTLES_S: Final = 0.5


def processes(tollhouse: Deployment, parts: Sequence[str]) -> list[str]:
    """The names of the processes of some parts, in the order of the parts."""
    run = RunState.read(tollhouse.state_dir)
    return [process.name for part in parts for process in run.processes if process.part == part]


def pid_of(tollhouse: Deployment, name: str) -> int | None:
    run = RunState.read(tollhouse.state_dir)
    return next(process.pid for process in run.processes if process.name == name)


async def is_back(tollhouse: Deployment, name: str, before: int) -> None:
    """Returns when another process of this name than `before` is ready."""
    passwords = secrets(tollhouse)
    while True:
        run = RunState.read(tollhouse.state_dir)
        process = next(process for process in run.processes if process.name == name)
        if process.pid not in (None, before) and await healthy(probe_url(process, passwords)):
            await asyncio.sleep(SETTLES_S)
            return
        await asyncio.sleep(0.1)


async def end(tollhouse: Deployment, name: str, number: signal.Signals = signal.SIGTERM) -> float:
    """Sends a process a signal that ends it, and waits for its successor. Answers when it was sent."""
    pid = pid_of(tollhouse, name)
    assert pid is not None, f"{name} does not run"
    sent_s = time.monotonic()
    os.kill(pid, number)
    async with asyncio.timeout(60):
        await is_back(tollhouse, name, pid)
    return sent_s
