"""Certificates for tests, by the authority that `up --tls` has."""

from pathlib import Path

from services.embedded.authority import Authority, files
from services.shared import clock
from services.shared.permissions import Peer
from services.shared.tls import Tls


def issued(folder: Path) -> Authority:
    """An authority in this folder, and a certificate of everybody."""
    authority = Authority(folder)
    authority.renew(clock.now_utc())
    return authority


def reissue(folder: Path) -> None:
    """New certificates of everybody, by the same authority."""
    for leaf in folder.glob("*.pem"):
        if leaf.stem != "authority":
            leaf.unlink()
    issued(folder)


def replace_authority(folder: Path) -> None:
    """Another authority, and certificates of it; nobody who kept the old ones can speak to who has the new."""
    (folder / "authority.pem").unlink()
    issued(folder)


def tls_of(folder: Path, peer: Peer, own: Peer | None = None) -> Tls:
    """What `peer` shows."""
    paths = files(folder, peer)
    return Tls(paths["tls_certificate"], paths["tls_key"], paths["tls_authority"], own or peer)
