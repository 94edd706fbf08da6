"""Settings of `tollhouse migrate`."""

from dataclasses import dataclass

from services.shared.settings import Secret, setting


@dataclass(frozen=True)
class MigrateSettings:
    """Read from TOLLHOUSE_MIGRATE_*."""

    database_url: Secret = setting("libpq URL of Postgres, as a role that may create roles and schemas")
    auth_password: Secret | None = setting(
        "password to give the role tollhouse_auth; it keeps its own without", default=None
    )
    router_password: Secret | None = setting(
        "password to give the role tollhouse_router; it keeps its own without", default=None
    )
    ledger_password: Secret | None = setting(
        "password to give the role tollhouse_ledger; it keeps its own without", default=None
    )
    console_password: Secret | None = setting(
        "password to give the role tollhouse_console; it keeps its own without", default=None
    )
    doctor_password: Secret | None = setting(
        "password to give the role tollhouse_doctor; it keeps its own without", default=None
    )

    def passwords(self) -> dict[str, str]:
        """Passwords by service, and the doctor's, those that are set."""
        by_service = {
            "auth": self.auth_password,
            "router": self.router_password,
            "ledger": self.ledger_password,
            "console": self.console_password,
            "doctor": self.doctor_password,
        }
        return {service: password.reveal() for service, password in by_service.items() if password is not None}
