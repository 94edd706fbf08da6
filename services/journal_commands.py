"""Operator commands for journals that an edge left behind: `tollhouse journal show|replay`."""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any, Final

from services.commands import CliSettings, table
from services.edge.journal import Journal, read
from services.edge.outbox import Outbox
from services.edge.records import ENDED, PROGRESS
from services.shared import bus, settings
from services.shared.permissions import Peer
from services.shared.settings import Secret
from services.shared.tls import Tls
from tollhouse.v1 import events_pb2

_SEGMENT_BYTES: Final = 8 * 1024 * 1024
_WITHIN_S: Final = 600.0


def add_parsers(sub: Any) -> None:
    """Adds the commands to the command line."""
    journal = sub.add_parser("journal", help="look at an edge's journal, or publish what is in it").add_subparsers(
        required=True, metavar="ACTION"
    )
    show = journal.add_parser("show", help="what a journal holds; changes nothing")
    show.add_argument("folder", type=Path)
    show.set_defaults(run=_show)
    replay = journal.add_parser("replay", help="publish what a journal holds, for an edge that never comes back")
    replay.add_argument("folder", type=Path)
    replay.add_argument("--nats-url-file", type=Path, required=True, help="file that holds the URL of NATS")
    replay.set_defaults(run=_replay)


def _show(arguments: argparse.Namespace) -> int:
    rows, under_way = [], dict[str, int]()
    for path, records in read(arguments.folder):
        ended = [record for record in records if record.type == ENDED]
        for record in records:
            if record.type == PROGRESS:
                under_way[record.request_id] = len(events_pb2.UsageEventBatch.FromString(record.payload).events)
        for record in ended:
            under_way.pop(record.request_id, None)
        events = sum(len(events_pb2.UsageEventBatch.FromString(record.payload).events) for record in ended)
        rows.append((path.name, path.stat().st_size, len(records), len(ended), events))
    table(("SEGMENT", "BYTES", "RECORDS", "REQUESTS ENDED", "USAGE EVENTS"), rows)
    print(f"{len(under_way)} requests had not ended")
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    if not arguments.folder.is_dir():
        print(f"tollhouse: there is no folder {arguments.folder}", file=sys.stderr)
        return 1
    try:
        left, unconfirmed = asyncio.run(_publish(arguments.folder, arguments.nats_url_file.read_text().strip()))
    except (OSError, settings.SettingsError) as error:
        print(f"tollhouse: {error}", file=sys.stderr)
        return 1
    print(f"{left - unconfirmed} of {left} requests are confirmed")
    return 1 if unconfirmed else 0


async def _publish(folder: Path, nats_url: str) -> tuple[int, int]:
    tls = Tls.of(settings.load(CliSettings, "cli"), Peer.OPERATOR)
    nc = await bus.connect(Secret(nats_url), name="journal-replay", tls=tls)
    try:
        journal = Journal(folder, _SEGMENT_BYTES, 4 * _SEGMENT_BYTES)
        left = journal.left()
        outbox = Outbox(nc, journal, "replay", limit_requests=10_000)
        sending = asyncio.create_task(outbox.run())
        await outbox.replay(left)
        await outbox.flush(_WITHIN_S)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        unconfirmed = outbox.depth
        journal.close()
        return len(left), unconfirmed
    finally:
        await nc.close()
