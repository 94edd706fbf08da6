"""What lies on this machine's disk: mounted secrets, certificates, and journals that no edge looks after."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from services.doctor.finding import Finding, fault, ok, warning
from services.edge.journal import read
from services.edge.records import ENDED
from services.shared import clock
from services.shared.settings import PREFIX

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


def mounted(environment: Mapping[str, str], days: int, now_ms: int) -> Iterator[Finding]:
    """Files that variables of ours name: whether they can be read, and how long certificates in them are good for."""
    now = datetime.fromtimestamp(now_ms / clock.MS_PER_S, UTC)
    for name, value in sorted(environment.items()):
        if not name.startswith(f"{PREFIX}_") or not (name.endswith("_FILE") or os.path.isfile(value)):
            continue
        try:
            content = Path(value).read_bytes()
        except OSError as error:
            yield fault(name, f"{value} cannot be read: {error.strerror}", "Mount the file, or mend its mode")
            continue
        if _CERTIFICATE in content:
            yield from _certificates(name, content, now, timedelta(days=days))


def _certificates(name: str, content: bytes, now: datetime, notice: timedelta) -> Iterator[Finding]:
    try:
        ends = min(certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(content))
    except ValueError as error:
        yield fault(name, f"holds no certificate that can be read: {error}", "Replace the file")
        return
    if ends <= now:
        yield fault(name, f"a certificate ended on {ends:%Y-%m-%d}", "Replace it; services load it anew by themselves")
    elif ends <= now + notice:
        yield warning(name, f"a certificate ends on {ends:%Y-%m-%d}", "Renew it in time")
    else:
        yield ok(name, f"certificates are good until {ends:%Y-%m-%d}")


def journals(folder: Path) -> Iterator[Finding]:
    """Journals in a folder of journals, such as that of `up`: those that no edge has open should hold nothing."""
    for journal in sorted(path for path in folder.glob("*") if (path / "lock").exists()):
        if _is_open(journal):
            yield ok(f"journal {journal.name}", "its edge runs")
            continue
        ended = sum(record.type == ENDED for _, records in read(journal) for record in records)
        if ended:
            yield warning(
                f"journal {journal.name}",
                f"{ended} requests may not be booked, and no edge runs on it",
                f"Start the edge again, or `tollhouse journal replay {journal} --nats-url-file FILE`",
            )
        else:
            yield ok(f"journal {journal.name}", "nothing is left in it")


def _is_open(journal: Path) -> bool:
    descriptor = os.open(journal / "lock", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
