"""Unit tests of services.embedded.process."""

import signal
import sys
from pathlib import Path

import pytest

from services.embedded.process import Backoff, Child, Program, StartFailed, rotate, tail
from services.shared import clock


def program(name: str, *argv: str, stop_within_s: float = 5, tries: int = 1) -> Program:
    return Program(
        name=name,
        part=name,
        argv=argv,
        environment={},
        address="",
        health_url="http://127.0.0.1:1/",
        stop_within_s=stop_within_s,
        tries=tries,
    )


def test_the_wait_doubles_from_a_tenth_to_five_seconds() -> None:
    backoff = Backoff()
    assert [backoff.after(0.0) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_ten_seconds_of_life_begin_the_waits_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(9.9)
    assert backoff.after(10.0) == 0.1
    assert backoff.after(0.0) == 0.2


async def test_a_program_that_dies_at_its_first_start_fails_it_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "bad.log").write_text("from an earlier start\n")
    child = Child(program("bad", "/bin/sh", "-c", "echo the setting is wrong; exit 3"), tmp_path, lambda: None)
    child.start()
    with pytest.raises(StartFailed, match="bad ended before it was ready") as failure:
        await child.ready(clock.monotonic_s() + 10)
    assert "the setting is wrong" in str(failure.value)
    assert "from an earlier start" not in str(failure.value)
    assert str(tmp_path / "bad.log") in str(failure.value)
    await child.stop()


async def test_a_program_that_never_becomes_ready_fails_at_the_deadline(tmp_path: Path) -> None:
    child = Child(program("deaf", "/bin/sleep", "60"), tmp_path, lambda: None)
    child.start()
    with pytest.raises(StartFailed, match="not ready in time"):
        await child.ready(clock.monotonic_s() + 0.3)
    await child.stop()
    assert child.pid is None


async def test_a_program_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    stubborn = program("stubborn", "/bin/sh", "-c", "trap '' TERM; echo up; sleep 60", stop_within_s=0.3)
    child = Child(stubborn, tmp_path, lambda: None)
    child.start()
    log = tmp_path / "stubborn.log"
    with pytest.raises(StartFailed):
        await child.ready(clock.monotonic_s() + 0.3)
    assert log.read_text() == "up\n"
    began_s = clock.monotonic_s()
    await child.stop()
    assert 0.3 <= clock.monotonic_s() - began_s < 3
    assert child.pid is None


async def test_a_child_is_in_a_session_of_its_own_and_has_no_input(tmp_path: Path) -> None:
    script = "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == ''); sys.exit(1)"
    child = Child(program("session", sys.executable, "-c", script), tmp_path, lambda: None)
    child.start()
    with pytest.raises(StartFailed):
        await child.ready(clock.monotonic_s() + 10)
    assert (tmp_path / "session.log").read_text() == "True True\n"
    await child.stop()


def test_a_program_shows_neither_its_environment_nor_its_passwords() -> None:
    shown = repr(
        Program(
            name="x",
            part="x",
            argv=("x",),
            environment={"A": "hush"},
            address="",
            health_url="nats://h",
            probe_url="nats://u:hush@h",
            stop_signal=signal.SIGINT,
        )
    )
    assert "hush" not in shown


def test_a_log_is_put_aside_when_it_is_over_fifty_mebibytes(tmp_path: Path) -> None:
    small, large = tmp_path / "small.log", tmp_path / "large.log"
    small.write_text("kept")
    with large.open("wb") as file:
        file.truncate(50 * 1024 * 1024 + 1)
    rotate(small)
    rotate(large)
    rotate(tmp_path / "missing.log")
    assert small.read_text() == "kept"
    assert not large.exists()
    assert (tmp_path / "large.log.1").stat().st_size == 50 * 1024 * 1024 + 1


def test_the_tail_of_a_log_is_short_and_names_the_file(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    lines = tail(log).splitlines()
    assert len(lines) == 16
    assert lines[-2:] == ["  line 9999", f"  log: {log}"]
    assert "its log is empty" in tail(tmp_path / "missing.log")
