"""One supervised process: started, tied to the supervisor's life, started anew with back-off, stopped."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.embedded import leash
from services.embedded.health import healthy
from services.shared import clock
from services.shared.telemetry import logger

_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_MOST_S: Final = 5.0
_BACKOFF_RESET_S: Final = 10.0
_LOG_MAX_BYTES: Final = 50 * 1024 * 1024
_TAIL_BYTES: Final = 4096
_TAIL_LINES: Final = 15
_POLL_S: Final = 0.03

_log = logger("process")


class StartFailed(Exception):
    """A process did not become ready. Its text says why, with the end of the log."""


@dataclass(frozen=True)
class Program:
    """What to run and how to tell that it works."""

    name: str
    part: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    address: str
    health_url: str
    """As run.json shows it: without a password."""
    ops_url: str = ""
    """Of its operations port; empty where it has none."""
    probe_url: str = field(default="", repr=False)
    """The same with its password, if it takes one."""
    wrapper: tuple[str, ...] = ()
    """Goes before everything: a command that changes who runs the program."""
    stop_signal: signal.Signals = signal.SIGTERM
    """Asks it to end; the kernel sends the same when the supervisor dies."""
    stop_within_s: float = 10
    tries: int = 1
    """How often it may die before it was ready for the first time."""
    before: Callable[[], Awaitable[None]] | None = None
    """Awaited before each start."""


class Backoff:
    """How long to wait before the next start: doubling, and from the beginning after a long enough life."""

    def __init__(self) -> None:
        self._next_s = _BACKOFF_FIRST_S

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a process that lived so long."""
        if lived_s >= _BACKOFF_RESET_S:
            self._next_s = _BACKOFF_FIRST_S
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, _BACKOFF_MOST_S)
        return wait_s


class Child:
    """A program that is kept running from `start` to `stop`. `changed` is called whenever its pid changes."""

    def __init__(self, program: Program, log_folder: Path, changed: Callable[[], None]) -> None:
        self.program = program
        self.restarts = 0
        self._log_path = log_folder / f"{program.name}.log"
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._was_ready = False
        self._log_from = log_size(self._log_path)
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        """Its process id; None while it is down."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts it and keeps it running. Only from the main thread: the tie is to the thread that starts a process."""
        self._keeper = asyncio.create_task(self._keep())

    async def ready(self, deadline_s: float) -> None:
        """Waits until it is ready, to a moment of the monotonic clock. Raises StartFailed."""
        url = self.program.probe_url or self.program.health_url
        while clock.monotonic_s() < deadline_s:
            if self._keeper is None or self._keeper.done():
                raise StartFailed(
                    f"{self.program.name} ended before it was ready:\n{tail(self._log_path, self._log_from)}"
                )
            if self._process and await healthy(url):
                self._was_ready = True
                return
            await asyncio.sleep(_POLL_S)
        raise StartFailed(f"{self.program.name} was not ready in time:\n{tail(self._log_path, self._log_from)}")

    async def stop(self) -> None:
        """Asks it to end, waits as long as its program says, kills it then. Returns when it is gone."""
        self._stopping.set()
        if self._keeper is None:
            return
        deadline_s, asked = clock.monotonic_s() + self.program.stop_within_s, None
        while not self._keeper.done():
            if self._process and self._process is not asked:
                asked = self._process
                self._send(self.program.stop_signal)
            if clock.monotonic_s() > deadline_s:
                _log.warning("process_killed", process=self.program.name, waited_s=self.program.stop_within_s)
                self.kill()
                deadline_s += self.program.stop_within_s
            await asyncio.wait({self._keeper}, timeout=0.05)

    def kill(self) -> None:
        """Ends it at once and for good."""
        self._stopping.set()
        if self._process:
            self._send(signal.SIGKILL)
        elif self._keeper:
            self._keeper.cancel()

    def _send(self, number: signal.Signals) -> None:
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _keep(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            started_s = clock.monotonic_s()
            ending = await self._run_once()
            if self._stopping.is_set():
                return
            self._deaths += 1
            if not self._was_ready and self._deaths >= self.program.tries:
                return
            wait_s = backoff.after(clock.monotonic_s() - started_s)
            _log.warning("process_ended", process=self.program.name, ending=ending, restart_in_s=wait_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
            self.restarts += 1

    async def _run_once(self) -> str:
        """Runs it to its end and says how that came."""
        try:
            if self.program.before:
                await self.program.before()
            if self._stopping.is_set():
                return "not started"
            self._process = await spawn(
                self.program.argv,
                self.program.environment,
                self._log_path,
                self.program.wrapper,
                self.program.stop_signal,
            )
        except OSError as error:  # no memory, no processes, no disk: as transient as a death
            return str(error)
        self._changed()
        code = await self._process.wait()
        self._process = None
        self._changed()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


async def spawn(
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    log_path: Path,
    wrapper: tuple[str, ...] = (),
    death_signal: signal.Signals = signal.SIGKILL,
) -> asyncio.subprocess.Process:
    """Starts a program that dies with this process, in a session of its own so that a Ctrl-C does not reach it."""
    rotate(log_path)
    tied = (*wrapper, sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), str(int(death_signal)), *argv)
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *tied,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=dict(environment),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def rotate(log_path: Path) -> None:
    """Puts a log that has grown too large aside, in place of the one before."""
    if log_size(log_path) > _LOG_MAX_BYTES:
        log_path.replace(log_path.with_name(f"{log_path.name}.1"))


def log_size(path: Path) -> int:
    """Bytes; 0 when there is none."""
    return path.stat().st_size if path.exists() else 0


def tail(path: Path, since: int = 0) -> str:
    """The last lines of a log, for people; only what was written after its first `since` bytes."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - _TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        lines = []
    return "\n".join([f"  {line}" for line in lines] or ["  (its log is empty)"]) + f"\n  log: {path}"
