"""Unit tests of services.embedded.authority."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from services.embedded.authority import LEAF_LIFE, NATS, RENEW_AFTER, Authority
from services.shared import clock
from services.shared.permissions import Peer

NOW = clock.now_utc()


def leaf(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def names(certificate: x509.Certificate, kind: type[x509.DNSName | x509.UniformResourceIdentifier]) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name) for name in extension.value.get_values_for_type(kind)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert Authority(tmp_path / "tls").renew(NOW)
    return tmp_path / "tls"


def test_every_file_is_its_owners_alone(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.stem for path in folder.iterdir()} == {*(peer.value for peer in Peer), NATS, "authority"}


@pytest.mark.parametrize("peer", Peer)
def test_a_certificate_names_one_peer_and_lives_for_days(folder: Path, peer: Peer) -> None:
    certificate = leaf(folder, peer)
    certificate.verify_directly_issued_by(leaf(folder, "authority"))
    assert names(certificate, x509.UniformResourceIdentifier) == [peer.uri]
    assert certificate.not_valid_before_utc <= NOW.replace(microsecond=0)
    assert certificate.not_valid_after_utc == (NOW + LEAF_LIFE).replace(microsecond=0)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_only_servers_have_the_name_that_clients_demand(folder: Path) -> None:
    servers = {peer for peer in Peer if peer.host in names(leaf(folder, peer), x509.DNSName)}
    assert servers == {Peer.AUTH, Peer.ROUTER, Peer.LEDGER}
    assert names(leaf(folder, NATS), x509.UniformResourceIdentifier) == []


def test_certificates_are_renewed_long_before_they_end(folder: Path) -> None:
    authority, before = Authority(folder), (folder / "edge.pem").read_bytes()
    assert not authority.renew(NOW + RENEW_AFTER - timedelta(minutes=10))
    assert (folder / "edge.pem").read_bytes() == before
    assert authority.renew(NOW + RENEW_AFTER)
    assert (folder / "edge.pem").read_bytes() != before
    assert RENEW_AFTER * 2 < LEAF_LIFE


def test_a_certificate_that_is_missing_cut_short_or_of_another_authority_is_made_anew(folder: Path) -> None:
    (folder / "edge.pem").unlink()
    (folder / "auth.pem").write_bytes(b"-----BEGIN")
    assert Authority(folder).renew(NOW)
    assert leaf(folder, "edge")
    assert leaf(folder, "auth")
    kept = leaf(folder, "authority")
    (folder / "authority.pem").unlink()
    assert Authority(folder).renew(NOW)
    assert leaf(folder, "authority") != kept
    leaf(folder, "ledger").verify_directly_issued_by(leaf(folder, "authority"))
