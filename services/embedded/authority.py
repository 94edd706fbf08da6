"""The certificate authority of one installation, for `up --tls`: its key never leaves the state folder."""

import datetime
import ipaddress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.embedded.state import RunState, StateFolder, write_private
from services.shared import clock
from services.shared.permissions import Peer, peer_named
from services.shared.tls import Tls

NATS: Final = "nats"

LEAF_LIFE: Final = datetime.timedelta(days=3)
RENEW_AFTER: Final = datetime.timedelta(days=1)

_AUTHORITY_LIFE: Final = datetime.timedelta(days=3650)
_SKEW: Final = datetime.timedelta(minutes=5)
_SERVERS: Final = (Peer.AUTH, Peer.ROUTER, Peer.LEDGER)
_LOOPBACK: Final = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


class Authority:
    """Makes the certificates of all processes, and of whoever calls them. The authority itself is made on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._certificate, self._key = self._own()

    def renew(self, now: datetime.datetime) -> bool:
        """Makes the certificates that are missing, of another authority, or older than `RENEW_AFTER`; whether there
        were any."""
        due = [name for name in (*Peer, NATS) if not self._is_fresh(name, now)]
        for name in due:
            self._issue(name, now)
        return bool(due)

    def _own(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        certificate_path, key_path = self._folder / "authority.pem", self._folder / "authority.key"
        if not certificate_path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(key_path, _pem(key))
            write_private(certificate_path, _self_signed(key).public_bytes(Encoding.PEM))
        kept = load_pem_private_key(key_path.read_bytes(), password=None)
        if not isinstance(kept, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_path} is not a key of ours")
        return x509.load_pem_x509_certificate(certificate_path.read_bytes()), kept

    def _is_fresh(self, name: str, now: datetime.datetime) -> bool:
        try:
            leaf = x509.load_pem_x509_certificate((self._folder / f"{name}.pem").read_bytes())
            leaf.verify_directly_issued_by(self._certificate)
        except Exception:  # missing, cut short, of another authority: all are replaced
            return False
        return leaf.not_valid_before_utc <= now < leaf.not_valid_before_utc + RENEW_AFTER

    def _issue(self, name: str, now: datetime.datetime) -> None:
        key, peer = ec.generate_private_key(ec.SECP256R1()), peer_named(name)
        serves = name in (*_SERVERS, NATS)
        names: list[x509.GeneralName] = []
        if peer:
            names.append(x509.UniformResourceIdentifier(peer.uri))
        if serves:
            if peer:
                names.append(x509.DNSName(peer.host))
            names += [x509.DNSName("localhost"), *(x509.IPAddress(address) for address in _LOOPBACK)]
        usages = [
            *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else ()),
            ExtendedKeyUsageOID.CLIENT_AUTH,  # of NATS too: servers of a cluster are each other's clients
        ]
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tollhouse {name}")]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        # Whoever looks between the two finds a pair that does not fit, and looks again.
        write_private(self._folder / f"{name}.key", _pem(key))
        write_private(self._folder / f"{name}.pem", leaf.public_bytes(Encoding.PEM))


def files(folder: Path, name: str) -> dict[str, Path]:
    """The TLS settings of a process, by field: where its certificate, its key and the authority are."""
    return {
        "tls_certificate": folder / f"{name}.pem",
        "tls_key": folder / f"{name}.key",
        "tls_authority": folder / "authority.pem",
    }


def operator_tls(folder: StateFolder) -> Tls | None:
    """The operator's certificate of what runs on this folder; None when it runs without TLS. Raises NotRunning."""
    return operator(folder.tls) if RunState.read(folder.path).tls else None


def operator(folder: Path) -> Tls:
    """The operator's certificate, which `up` shows too."""
    own = files(folder, Peer.OPERATOR)
    return Tls(own["tls_certificate"], own["tls_key"], own["tls_authority"], Peer.OPERATOR)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = clock.now_utc()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tollhouse up")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
