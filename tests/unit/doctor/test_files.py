"""What the doctor finds on the disk."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from services.doctor.files import journals, mounted
from services.doctor.finding import Verdict
from services.edge.journal import Journal

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def certificate(ends: datetime) -> bytes:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(ends - timedelta(days=90))
        .not_valid_after(ends)
        .sign(key, None)
    )
    return made.public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("days", "verdict"), [(-1, Verdict.FAULT), (0, Verdict.FAULT), (20, Verdict.WARNING), (22, Verdict.OK)]
)
def test_a_certificate_is_judged_by_its_end(tmp_path: Path, days: int, verdict: Verdict) -> None:
    path = tmp_path / "edge.crt"
    path.write_bytes(certificate(NOW + timedelta(days=60)) + certificate(NOW + timedelta(days=days)))
    (found,) = mounted({"TOLLHOUSE_EDGE_TLS_CERTIFICATE": str(path)}, 21, NOW_MS)
    assert found.verdict is verdict


def test_a_mounted_secret_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    environment = {"TOLLHOUSE_AUTH_KEY_PEPPER_FILE": str(tmp_path / "none"), "PATH": str(tmp_path / "none")}
    (found,) = mounted(environment, 21, NOW_MS)
    assert (found.about, found.verdict) == ("TOLLHOUSE_AUTH_KEY_PEPPER_FILE", Verdict.FAULT)


def test_variables_that_are_no_files_say_nothing(tmp_path: Path) -> None:
    assert list(mounted({"TOLLHOUSE_EDGE_HOST": "127.0.0.1"}, 21, NOW_MS)) == []


def test_a_journal_that_nobody_looks_after_is_found_when_something_is_left_in_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "edge-0", 64 * 1024, 1 << 20)
    journal.progress("req_1", b"so far")
    journal.end("req_1", b"usage")
    Journal(tmp_path / "edge-1", 64 * 1024, 1 << 20).close()
    assert [found.seen for found in journals(tmp_path)] == ["its edge runs", "nothing is left in it"]
    journal.close()
    left, empty = journals(tmp_path)
    assert (left.verdict, empty.verdict) == (Verdict.WARNING, Verdict.OK)
    assert "tollhouse journal replay" in left.remedy
