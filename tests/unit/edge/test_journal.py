"""Unit tests of services.edge.journal, on a real disk."""

import asyncio
import contextlib
import os
import resource
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.edge.journal import Journal, JournalTaken, Segment, read
from services.edge.records import ENDED, PROGRESS

SEGMENT_BYTES = 4096
MAX_BYTES = 8 * SEGMENT_BYTES


def journal_in(folder: Path, max_bytes: int = MAX_BYTES) -> Journal:
    return Journal(folder, SEGMENT_BYTES, max_bytes)


def crash(journal: Journal) -> None:
    """The process is gone; what it wrote into its mappings is not."""
    os.close(journal._lock)


def left_in(folder: Path) -> dict[str, bytes]:
    journal = journal_in(folder)
    left = journal.left()
    assert len({item.request_id for item in left}) == len(left)
    crash(journal)
    return {item.request_id: item.payload for item in left}


@contextlib.asynccontextmanager
async def kept(journal: Journal) -> AsyncIterator[None]:
    keeping = asyncio.create_task(journal.keep())
    await asyncio.sleep(0.15)
    yield
    keeping.cancel()


def test_the_first_life_knows_of_no_earlier_one(tmp_path: Path) -> None:
    journal = journal_in(tmp_path / "made" / "for it")
    assert not journal.had_earlier_life
    assert journal.left() == []
    journal.close()
    assert [path.name for path in (tmp_path / "made" / "for it").iterdir()] == ["lock"]


def test_a_folder_is_one_processs(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    with pytest.raises(JournalTaken, match="another edge has the journal"):
        journal_in(tmp_path)
    journal.close()
    journal_in(tmp_path).close()


def test_a_request_that_was_under_way_is_left_as_it_was_seen_last(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.progress("req_1", b"begun")
    journal.progress("req_1", b"further")
    journal.progress("req_2", b"begun")
    journal.end("req_2", b"")
    crash(journal)
    assert left_in(tmp_path) == {"req_1": b"further"}


def test_what_ended_is_left_until_it_is_confirmed(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.progress("req_1", b"begun")
    assert journal.end("req_1", b"used") is not None
    assert journal.end("req_2", b"") is None
    crash(journal)
    assert left_in(tmp_path) == {"req_1": b"used"}


def test_a_crash_while_the_replay_is_under_way_loses_nothing(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.progress("req_1", b"begun")
    journal.end("req_2", b"used")
    crash(journal)
    for _ in range(3):
        assert left_in(tmp_path) == {"req_1": b"begun", "req_2": b"used"}


def test_what_is_confirmed_after_a_replay_is_not_left_again(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.progress("req_1", b"begun")
    journal.end("req_2", b"used")
    crash(journal)
    again = journal_in(tmp_path)
    assert again.had_earlier_life
    for item in again.left():
        assert item.segment is not None
        again.confirm(item.segment)
    again.close()
    assert left_in(tmp_path) == {}


def test_a_torn_record_is_passed_over(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.end("req_1", b"used")
    journal.end("req_2", b"used")
    crash(journal)
    (path, records) = next(read(tmp_path))
    assert [record.type for record in records] == [ENDED, ENDED]
    content = path.read_bytes()
    path.write_bytes(content.replace(b"req_2", b"req_X"))
    again = journal_in(tmp_path)
    (left,) = again.left()
    assert (left.request_id, left.payload) == ("req_1", b"used")
    assert left.segment is not None
    again.confirm(left.segment)
    again.close()
    assert [damaged.suffix for damaged in tmp_path.iterdir() if damaged.name != "lock"] == [".damaged"]


def test_a_file_of_another_version_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "000000000007.journal").write_bytes(b"TOLLHJ99 what a newer version wrote")
    (tmp_path / "notes.journal").write_bytes(b"somebody's")
    journal = journal_in(tmp_path)
    assert journal.left() == []
    journal.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000007.damaged", "lock", "notes.journal"]


def test_while_what_is_left_is_written_anew_nothing_of_it_is_deleted(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    for number in range(12):
        journal.progress(f"req_{number}", bytes([number]) * 900)
    crash(journal)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.journal")}
    again = journal_in(tmp_path)
    deleted: list[int] = []
    written = again.end

    def end(request_id: str, payload: bytes) -> Segment | None:
        deleted.append(sum(not (tmp_path / name).exists() for name in before))
        return written(request_id, payload)

    again.end = end  # type: ignore[method-assign]
    assert len(again.left()) == 12
    assert deleted == [0] * 12
    crash(again)
    assert len(left_in(tmp_path)) == 12


def test_what_the_disk_does_not_take_leaves_what_was_written_before(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.progress("req_open", b"begun")
    journal.progress("req_ended", b"begun")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        journal.progress("req_open", b"x" * 4080)
        kept_until_confirmed = journal.end("req_ended", b"x" * 4080)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept_until_confirmed is not None
    crash(journal)
    assert left_in(tmp_path) == {"req_open": b"begun", "req_ended": b"begun"}


async def test_segments_are_made_ahead_of_need_up_to_the_limit_and_then_no_work_is_taken(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    assert not journal.full
    segments: list[Segment | None] = []
    async with kept(journal):
        while not journal.full:
            segments.append(journal.end(f"req_{len(segments)}", b"x" * 400))
            await asyncio.sleep(0.01)
        assert journal.size_bytes == MAX_BYTES
        # What is under way may still end, beyond the limit if it must be.
        segments += [journal.end(f"req_{len(segments) + number}", b"x" * 400) for number in range(30)]
        assert all(segments)
        for segment in segments:
            assert segment is not None
            journal.confirm(segment)
        await asyncio.sleep(0.15)
        assert not journal.full
        assert journal.size_bytes <= 2 * SEGMENT_BYTES
    journal.close()


async def test_a_request_that_goes_on_for_long_holds_up_no_segment(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.progress("req_long", b"as it was seen last")
    async with kept(journal):
        for number in range(200):
            segment = journal.end(f"req_{number}", b"x" * 400)
            assert segment is not None
            journal.confirm(segment)
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.15)
        assert journal.size_bytes <= 4 * SEGMENT_BYTES
    crash(journal)
    assert left_in(tmp_path)["req_long"] == b"as it was seen last"


def test_a_disk_that_is_full_is_said_when_a_segment_is_made(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            journal_in(tmp_path / "other")
        taken = [journal.end(f"req_{number}", b"x" * 1000) for number in range(6)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert taken[0] is not None
    assert taken[-1] is None  # it is in memory only, and said so in the log
    assert journal.full
    crash(journal)


class Life(RuleBasedStateMachine):
    """Requests that begin, go on, end and are confirmed, beside the plainest bookkeeping; and a crash at any point."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.journal = journal_in(Path(self.folder.name))
        self.expected: dict[str, bytes] = {}
        self.under_way: set[str] = set()
        self.unconfirmed: dict[str, Segment | None] = {}
        self.number = 0

    @rule(size=st.integers(1, 700))
    def begin(self, size: int) -> None:
        self.number += 1
        self._progress(f"req_{self.number}", size)

    @rule(size=st.integers(1, 700), data=st.data())
    def go_on(self, size: int, data: st.DataObject) -> None:
        if self.under_way:
            self._progress(data.draw(st.sampled_from(sorted(self.under_way))), size)

    def _progress(self, request_id: str, size: int) -> None:
        payload = os.urandom(size)
        self.journal.progress(request_id, payload)
        self.expected[request_id] = payload
        self.under_way.add(request_id)

    @rule(size=st.integers(0, 700), data=st.data())
    def end(self, size: int, data: st.DataObject) -> None:
        if not self.under_way:
            return
        request_id = data.draw(st.sampled_from(sorted(self.under_way)))
        self.under_way.discard(request_id)
        payload = os.urandom(size)
        segment = self.journal.end(request_id, payload)
        del self.expected[request_id]
        if payload:
            self.expected[request_id] = payload
            self.unconfirmed[request_id] = segment

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        if self.unconfirmed:
            request_id = data.draw(st.sampled_from(sorted(self.unconfirmed)))
            segment = self.unconfirmed.pop(request_id)
            assert segment is not None
            self.journal.confirm(segment)
            del self.expected[request_id]

    @rule()
    def move(self) -> None:
        self.journal._move_long_requests()

    @rule()
    def crash_and_replay(self) -> None:
        crash(self.journal)
        self.journal = journal_in(Path(self.folder.name))
        left = self.journal.left()
        found = {item.request_id: item.payload for item in left}
        # What was confirmed may come again, for its segment may be needed still; nothing else may, and nothing is lost.
        assert len(found) == len(left)
        assert {request_id: found.get(request_id) for request_id in self.expected} == self.expected
        self.expected, self.under_way = found, set()
        self.unconfirmed = {item.request_id: item.segment for item in left}

    @invariant()
    def nothing_is_kept_for_nothing(self) -> None:
        if not self.expected:
            assert len(self.journal._segments) == 1

    def teardown(self) -> None:
        crash(self.journal)
        self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def test_types_of_records_stay_what_they_are() -> None:
    assert (PROGRESS, ENDED) == (1, 2)  # journals of an earlier version are read after an upgrade
