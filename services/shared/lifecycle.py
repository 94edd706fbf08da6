"""How a service process ends: SIGTERM or SIGINT asks it to stop, and a task that dies takes the process with it."""

import asyncio
import contextlib
import gc
import resource
import signal
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

_AGAIN_S: Final = 1.0


def settle_memory() -> None:
    """Call when everything is set up: what lives as long as the process is never looked at by the garbage collector
    again, and it looks less often. Worth a twentieth of the CPU of a busy edge; what is left for it to find is little,
    for reference counts free nearly everything."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def allow_open_files() -> None:
    """Raises the soft limit of open files to the hard one. It is 1024 in many containers, for the sake of programs that
    use `select`; a stream needs two (https://0pointer.net/blog/file-descriptor-limits.html)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def stopped() -> None:
    """Waits for SIGTERM or SIGINT."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()


@contextlib.asynccontextmanager
async def background(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs loops beside the body and cancels them after it. A loop that raises cancels the body: the process ends with
    a traceback and is started anew, instead of living on without one of its parts."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        yield
        await end(*tasks)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks until they have ended, whatever they raise. Once may not be enough: before Python 3.12
    `asyncio.wait_for`, which libraries use, loses a cancellation that comes in the turn of its result
    (https://github.com/python/cpython/issues/86296)."""
    while waiting := {task for task in tasks if not task.done()}:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=_AGAIN_S)


async def stopped_or_done(work: asyncio.Future[Any]) -> None:
    """Waits for SIGTERM or SIGINT, or until `work` ends by itself, which raises what it raised."""
    stop = asyncio.create_task(stopped())
    await asyncio.wait([stop, work], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if work.done():
        work.result()
