"""Settings of `tollhouse doctor`, beside those of every command."""

from dataclasses import dataclass

from services.shared.settings import Secret, setting


@dataclass(frozen=True)
class DoctorSettings:
    """Read from TOLLHOUSE_DOCTOR_*."""

    database_url: Secret | None = setting(
        "libpq URL of Postgres, as the role tollhouse_doctor; from the state folder without", default=None
    )
    nats_url: Secret | None = setting(
        "URL of NATS, credentials included, of a cluster several between commas; from the state folder without",
        default=None,
    )
    ready_urls: str = setting(
        "URLs of /readyz, of edges and consoles, between commas; from the state folder without", default=""
    )
    skew_max_s: float = setting(
        "seconds that the clocks of this machine and of Postgres may differ", default=2, at_least=0
    )
    lag_max_s: float = setting("seconds that usage may wait to be booked", default=60, at_least=1)
    certificate_days: int = setting("days before its end that a certificate is warned of", default=21, at_least=0)
