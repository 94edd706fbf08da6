"""Unit tests of services.shared.lifecycle."""

import asyncio
import subprocess
import sys

from services.shared import lifecycle


async def loses_cancellations(count: int, lost: list[int]) -> None:
    """Runs on through so many cancellations, as a library's wait_for may."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if len(lost) == count:
                raise
            lost.append(len(lost))


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    lost = list[int]()
    running = asyncio.create_task(loses_cancellations(1, lost))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await lifecycle.end(running)
    assert running.cancelled()
    assert lost == [0]


async def test_what_ended_with_an_error_is_ended() -> None:
    async def fails() -> None:
        raise ValueError("no")

    failed = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await lifecycle.end(failed)
    assert isinstance(failed.exception(), ValueError)


async def test_loops_of_the_background_end_with_the_body() -> None:
    lost, ended = list[int](), list[str]()

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    async with asyncio.timeout(10), lifecycle.background(loses_cancellations(1, lost), cleans_up()):
        await asyncio.sleep(0)
    assert (lost, ended) == ([0], ["cleaned up"])


def test_a_process_may_open_as_many_files_as_it_is_ever_allowed_to() -> None:
    code = (
        "import resource as r; from services.shared import lifecycle;"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, 128)); lifecycle.allow_open_files(); print(*r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["128", "128"]
