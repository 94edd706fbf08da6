"""TLS between services: one certificate a process, read anew when its files rotate.

With TLS every gRPC server demands a client's certificate and every client shows its own; NATS is spoken to in the same
way. All trust one authority. Without the files nothing is encrypted, and `services.shared.permissions` is not asked.
"""

import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import grpc

from services.shared import clock
from services.shared.permissions import Peer
from services.shared.settings import SettingsError, setting
from services.shared.telemetry import logger

if TYPE_CHECKING:
    from cryptography import x509

_LOOK_EVERY_S: Final = 1.0

_log = logger("tls")


class TlsError(OSError):
    """TLS files that cannot be used. Its text says which and why."""


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """The settings of every process that speaks to other services. All three or none."""

    tls_certificate: str = setting(
        "PEM file of this process's certificate, its chain after it; with the two below, gRPC and NATS are spoken over"
        " TLS, and are not encrypted without",
        default="",
    )
    tls_key: str = setting("PEM file of the certificate's private key, without a passphrase", default="")
    tls_authority: str = setting("PEM file of the authorities that peers' certificates must come from", default="")

    def __post_init__(self) -> None:
        if len({bool(self.tls_certificate), bool(self.tls_key), bool(self.tls_authority)}) > 1:
            raise SettingsError(
                "the settings TLS_CERTIFICATE, TLS_KEY and TLS_AUTHORITY are given together or not at all"
            )


@dataclass(frozen=True)
class Material:
    """What the files held when they were read; PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    authority: bytes


class Tls:
    """The certificate of this process, and how it is shown to peers.

    Files are looked at when they are used, once a second at most. Those that do not fit each other, as while they are
    being replaced, are left until they do: what was read before stays in use. gRPC asks from threads of its own.

    Args:
        certificate, key, authority: paths of PEM files.
        own: who the certificate must name.

    Raises:
        TlsError: the files cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, authority: Path, own: Peer) -> None:
        self._paths = (certificate, key, authority)
        self._own = own
        self._lock = threading.Lock()
        self._look_at_s = clock.monotonic_s() + _LOOK_EVERY_S
        self._fault = ""
        try:
            self._seen, self._material = self._read()
            self._context_of, self._context = self._material, self._new_context()
        except (OSError, ValueError) as error:
            raise TlsError(f"TLS: {error}") from None

    @classmethod
    def of(cls, settings: TlsSettings, own: Peer) -> Self | None:
        """As the settings say; None without TLS."""
        if not settings.tls_certificate:
            return None
        return cls(Path(settings.tls_certificate), Path(settings.tls_key), Path(settings.tls_authority), own)

    def material(self) -> Material:
        """What is in the files: the same object until they changed."""
        with self._lock:
            now_s = clock.monotonic_s()
            if now_s >= self._look_at_s:
                self._look_at_s = now_s + _LOOK_EVERY_S
                self._look()
            return self._material

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a gRPC client, as of now."""
        now = self.material()
        return grpc.ssl_channel_credentials(now.authority, now.key, now.certificate)

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server that demands certificates. Each handshake sees the files as they are then."""
        given = self.material()

        def rotated() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            now = self.material()
            if now is given:
                return None  # which keeps what it has
            given = now
            return _configuration(now)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(given),
            rotated,  # type: ignore[arg-type]  # its stub knows nothing of None
            require_client_authentication=True,
        )

    def context(self) -> ssl.SSLContext:
        """For NATS, as of now."""
        now = self.material()
        if now is not self._context_of:
            try:
                self._context_of, self._context = now, self._new_context()
            except (OSError, ValueError) as error:  # replaced just now; the next connection looks again
                _log.warning("tls_files_unusable", error=str(error))
        return self._context

    def _look(self) -> None:
        try:
            if self._signature() == self._seen:
                return
            self._seen, self._material = self._read()
        except (OSError, ValueError) as error:
            if str(error) != self._fault:
                self._fault = str(error)
                _log.warning("tls_files_unusable", error=self._fault)
            return
        self._fault = ""
        _log.info("tls_files_read", certificate=str(self._paths[0]))

    def _signature(self) -> tuple[tuple[int, int, int], ...]:
        stats = [path.stat() for path in self._paths]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def _read(self) -> tuple[tuple[tuple[int, int, int], ...], Material]:
        """The files and what tells them from others. Raises OSError, ValueError."""
        before = self._signature()
        material = Material(*(path.read_bytes() for path in self._paths))
        if self._signature() != before:
            raise ValueError("the files are being replaced")
        self._check(material)
        return before, material

    def _check(self, material: Material) -> None:
        from cryptography import x509  # megabytes, which whoever speaks without TLS does not need
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        certificate, key, authority = self._paths
        try:
            leaf = x509.load_pem_x509_certificate(material.certificate)
        except ValueError:
            raise ValueError(f"{certificate} is not a certificate in PEM") from None
        try:
            public_key = load_pem_private_key(material.key, password=None).public_key()
        except (ValueError, TypeError):
            raise ValueError(f"{key} is not a private key in PEM without a passphrase") from None
        if public_key != leaf.public_key():
            raise ValueError(f"{key} is not the key of {certificate}")
        if not (named := _uris(leaf)) or named != [self._own.uri]:
            raise ValueError(f"{certificate} must name {self._own.uri}, and names {', '.join(named) or 'nobody'}")
        try:
            x509.load_pem_x509_certificates(material.authority)
        except ValueError:
            raise ValueError(f"{authority} holds no certificates in PEM") from None

    def _new_context(self) -> ssl.SSLContext:
        certificate, key, authority = (str(path) for path in self._paths)
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authority)
        context.load_cert_chain(certificate, key)
        return context


def _uris(certificate: "x509.Certificate") -> list[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    pair = (material.key, material.certificate)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=material.authority)
