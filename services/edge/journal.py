"""The edge's journal: what must be booked, on local disk, so that it outlives the process (I1).

Segments are files of one size, made ahead of need and mapped into memory: writing a record is a copy into the mapping,
without a system call, and what was copied is there for the next process on this folder even after `kill -9`. Nothing is
synced to the disk: a machine that loses power may lose the last seconds (docs/adr/0014).

A segment is deleted, oldest first, when nothing in it is needed any more: its requests have ended, and what they cost
is confirmed by JetStream. Requests that go on for long are written again further on, so that they hold up no segment.
"""

import asyncio
import contextlib
import fcntl
import mmap
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from services.edge.records import ENDED, HEAD_BYTES, MAGIC, PROGRESS, Record, decode, encode
from services.shared.telemetry import logger

_log = logger("journal")

_SUFFIX: Final = ".journal"
_DAMAGED: Final = ".damaged"
_LOOK_S: Final = 1.0
_PAUSE_S: Final = 0.05
_MOVED_AT_ONCE: Final = 64
_RESERVED_PART: Final = 4
"""No new work is taken when there is no next segment and less than this part of the present one is left."""


class JournalTaken(OSError):
    """Another process has this folder."""


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `needed` counts the records in it that are."""

    path: Path
    memory: mmap.mmap | None = None
    at: int = len(MAGIC)
    needed: int = 0
    damaged: bool = False
    """Something in it could not be read: it is put aside instead of deleted."""
    under_way: dict[str, bytes] = field(default_factory=dict)
    """Requests whose last PROGRESS is here, and its payload."""


class Left(NamedTuple):
    """What an earlier process left of one request, and the segment that keeps it until it is confirmed, if any."""

    request_id: str
    payload: bytes
    segment: Segment | None


class Journal:
    """One folder, of one process. Raises JournalTaken, or OSError when the disk cannot keep it.

    Args:
        folder: made if there is none.
        segment_bytes: the size of a file.
        max_bytes: of all files together.
    """

    def __init__(self, folder: Path, segment_bytes: int, max_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise JournalTaken(f"another edge has the journal {folder}") from None
        self._segment_bytes = segment_bytes
        self._segments_most = max(3, max_bytes // segment_bytes)
        earlier = _files(folder)
        self._segments = deque(Segment(path) for path in earlier)
        self.had_earlier_life = bool(earlier)
        """Whether an earlier process worked on this folder: if so, what it left is all that it did."""
        self._number = int(earlier[-1].stem) if earlier else 0
        self._where: dict[str, Segment] = {}
        """The segment of each request under way."""
        self._next: Segment | None = None
        self._wanted = asyncio.Event()
        """The next segment was taken, or there is room for one again."""
        self._wanted.set()
        self._freeing = True
        self._segments.append(self._make())

    # ---- writing ----

    @property
    def full(self) -> bool:
        """Whether to take no more work: what is under way needs the room that is left."""
        left_bytes = self._segment_bytes - self._segments[-1].at
        return self._next is None and left_bytes < self._segment_bytes // _RESERVED_PART

    @property
    def size_bytes(self) -> int:
        """What the files take."""
        return (len(self._segments) + (self._next is not None)) * self._segment_bytes

    @property
    def needed_bytes(self) -> int:
        """What is written in files that something is needed of."""
        return sum(segment.at for segment in self._segments if segment.needed)

    def progress(self, request_id: str, payload: bytes) -> None:
        """A request is under way: what to book should this process be lost. Replaces what was written before."""
        segment = self._append(PROGRESS, request_id, payload)
        if segment is None:
            return  # what was written before stays
        self._leave(request_id)
        segment.needed += 1
        segment.under_way[request_id] = payload
        self._where[request_id] = segment

    def end(self, request_id: str, payload: bytes) -> Segment | None:
        """A request has ended: what to book, perhaps nothing. Answers the segment to `confirm` when it is booked for
        sure; None when there is nothing to wait for, or the disk did not take it."""
        segment = self._append(ENDED, request_id, payload)
        if segment is None:
            return self._keep_progress(request_id)
        self._leave(request_id)
        if not payload:
            return None
        segment.needed += 1
        return segment

    def _keep_progress(self, request_id: str) -> Segment | None:
        """The end could not be written: until it is confirmed, what was written of the request before is needed."""
        segment = self._where.pop(request_id, None)
        if segment is not None:
            del segment.under_way[request_id]
        return segment

    def confirm(self, segment: Segment) -> None:
        """One ENDED record of a segment is needed no more."""
        segment.needed -= 1
        if not segment.needed:
            self._free()

    def _leave(self, request_id: str) -> None:
        segment = self._where.pop(request_id, None)
        if segment is not None:
            del segment.under_way[request_id]
            segment.needed -= 1
            if not segment.needed:
                self._free()

    def _append(self, type_: int, request_id: str, payload: bytes) -> Segment | None:
        record = encode(type_, request_id, payload)
        segment = self._segments[-1]
        if segment.at + len(record) > self._segment_bytes:
            try:
                segment = self._turn_over(len(record))
            except OSError as error:
                _log.error("journal_not_written", request_id=request_id, error=str(error))
                return None
        assert segment.memory is not None
        segment.memory[segment.at : segment.at + len(record)] = record
        segment.at += len(record)
        return segment

    def _turn_over(self, record_bytes: int) -> Segment:
        if record_bytes > self._segment_bytes - len(MAGIC):
            raise OSError("the record is larger than a segment")
        segment = self._next or self._make()  # without one ahead of need: beyond the limit, for the work is done
        self._next = None
        self._wanted.set()
        self._segments.append(segment)
        self._free()
        return segment

    def _make(self) -> Segment:
        """A new file, its blocks allocated: a full disk is an error now, and not a signal later."""
        self._number += 1
        path = self._folder / f"{self._number:012d}{_SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._segment_bytes)
            memory = mmap.mmap(descriptor, self._segment_bytes)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        memory[: len(MAGIC)] = MAGIC
        return Segment(path, memory)

    # ---- keeping room ----

    async def keep(self) -> None:
        """Makes segments ahead of need and moves what holds up old ones, until cancelled."""
        moved = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_S if moved or self._next is None else _LOOK_S):
                    await self._wanted.wait()
            self._wanted.clear()
            if self._next is None and len(self._segments) < self._segments_most:
                try:
                    self._next = await asyncio.to_thread(self._make)
                except OSError as error:
                    _log.error("journal_cannot_grow", error=str(error))
                    await asyncio.sleep(_LOOK_S)
            moved = self._move_long_requests()

    def _move_long_requests(self) -> bool:
        """Writes some requests of the oldest segment again, when nothing else holds it up; whether there were any."""
        oldest = self._segments[0]
        if len(self._segments) < 3 or not oldest.under_way or oldest.needed > len(oldest.under_way):
            return False
        for request_id, payload in list(oldest.under_way.items())[:_MOVED_AT_ONCE]:
            self.progress(request_id, payload)
        return True

    def _free(self) -> None:
        while self._freeing and len(self._segments) > 1 and not self._segments[0].needed:
            _delete(self._segments.popleft())
            if self._next is None:
                self._wanted.set()

    # ---- what an earlier process left ----

    def left(self) -> list[Left]:
        """Everything that may not be booked yet. Requests that had not ended are ended by this, with what was written
        of them last; call it once, before anything is written."""
        ended: list[Left] = []
        under_way: dict[str, bytes] = {}
        self._freeing = False  # a segment may still be the only one that has a request which is not written anew yet
        for segment in list(self._segments)[:-1]:
            for record in _read(segment):
                if record.type == PROGRESS:
                    under_way[record.request_id] = record.payload
                    continue
                under_way.pop(record.request_id, None)
                if record.payload:
                    segment.needed += 1
                    ended.append(Left(record.request_id, record.payload, segment))
        for request_id, payload in under_way.items():
            ended.append(Left(request_id, payload, self.end(request_id, payload)))
        self._freeing = True
        self._free()
        return ended

    def close(self) -> None:
        """Lets go of the folder. Files stay only where something in them is needed."""
        if self._next is not None:
            _delete(self._next)
        while self._segments and not self._segments[0].needed:
            _delete(self._segments.popleft())
        for segment in self._segments:
            if segment.memory is not None:
                segment.memory.close()
        os.close(self._lock)


def read(folder: Path) -> Iterator[tuple[Path, list[Record]]]:
    """The records of every segment in a folder, oldest first; changes nothing."""
    for path in _files(folder):
        yield path, _read(Segment(path))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _read(segment: Segment) -> list[Record]:
    content = segment.path.read_bytes()
    records = list(decode(content))
    used = len(MAGIC) + sum(HEAD_BYTES + len(record.request_id) + len(record.payload) for record in records)
    if any(content[used : used + HEAD_BYTES]) or not content.startswith(MAGIC):
        _log.error("journal_damaged", segment=segment.path.name, at=used)
        segment.damaged = True
    return records


def _delete(segment: Segment) -> None:
    if segment.memory is not None:
        segment.memory.close()
    with contextlib.suppress(FileNotFoundError):
        if segment.damaged:
            segment.path.rename(segment.path.with_suffix(_DAMAGED))
        else:
            segment.path.unlink()
