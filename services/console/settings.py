"""Settings of the console."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from services.shared.settings import Secret, SettingsError, setting, variable


@dataclass(frozen=True)
class ConsoleSettings:
    """Read from TOLLHOUSE_CONSOLE_*."""

    database_url: Secret = setting("libpq URL of Postgres, as the role tollhouse_console")
    master_key: Secret = setting("base64 of the 32 bytes that the secrets of one-time codes are sealed under")
    ledger_token: Secret = setting("the ledger's internal service token")
    host: str = setting("address to listen on for browsers", default="127.0.0.1")
    port: int = setting("port to listen on for browsers", default=8090, at_least=1, at_most=65535)
    ops_host: str = setting("address to listen on for /healthz and /readyz", default="127.0.0.1")
    ops_port: int = setting("port to listen on for /healthz and /readyz", default=8091, at_least=1, at_most=65535)
    auth_address: str = setting("host:port of auth's gRPC", default="127.0.0.1:7001")
    router_address: str = setting("host:port of the router's gRPC", default="127.0.0.1:7002")
    ledger_address: str = setting("host:port of the ledger's gRPC", default="127.0.0.1:7003")
    call_timeout_s: float = setting("seconds to wait for auth, the router and the ledger", default=5, at_least=0.1)
    api_url: str = setting(
        "scheme and host under which clients reach the API, for brands that do not say it; without, those that the"
        " browser reached the console at",
        default="",
    )
    trusted_proxies: str = setting(
        "addresses and CIDR blocks, between commas, whose X-Forwarded-For and X-Forwarded-Proto are believed",
        default="",
    )
    database_connections: int = setting("connections to Postgres, at most", default=8, at_least=1, at_most=100)
    registration: bool = setting("whether people may register by themselves", default=True)
    key_groups: str = setting(
        "groups, between commas, that customers may give their keys; one that a key has already stays open to it",
        default="default",
    )
    key_plans: str = setting(
        "plans, between commas, that customers may give their keys: each limits its key further, and changes its price"
        " where the plan has a multiplier",
        default="",
    )
    oidc_issuer: str = setting(
        "issuer of an OpenID Connect provider that people may sign in through; none without", default=""
    )
    oidc_client_id: str = setting("what the console is called at the provider", default="")
    oidc_client_secret: Secret | None = setting(
        "the console's secret at the provider, unless it is a public client", default=None
    )
    oidc_label: str = setting("what people call the provider: the button to it says so", default="single sign-on")
    session_idle_s: float = setting(
        "seconds without a request after which a session ends", default=12 * 3600, at_least=60
    )
    session_s: float = setting("seconds after which a session ends in any case", default=30 * 24 * 3600, at_least=60)
    sign_in_window_s: float = setting(
        "seconds for which the numbers of attempts below are meant", default=900, at_least=1, at_most=86_400
    )
    sign_ins_per_account: int = setting(
        "failed attempts to sign in to one account, at most, in the window", default=10, at_least=1
    )
    sign_ins_per_address: int = setting(
        "attempts to sign in from one address, at most, in the window", default=60, at_least=1
    )
    registrations_per_address: int = setting(
        "attempts to register from one address, at most, in the window", default=20, at_least=1
    )
    api_calls_per_minute: int = setting(
        "calls of the management API a minute, at most, of one access token or of one person's sessions",
        default=600,
        at_least=1,
    )
    drain_s: float = setting("seconds that requests under way get when the console stops", default=10, at_least=0)

    def __post_init__(self) -> None:
        if bool(self.oidc_issuer) != bool(self.oidc_client_id):
            names = variable("console", "oidc_issuer"), variable("console", "oidc_client_id")
            raise SettingsError(f"{names[0]} and {names[1]} are set together or not at all")
        issuer = urlsplit(self.oidc_issuer)
        if self.oidc_issuer and issuer.scheme != "https" and issuer.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise SettingsError(f"{variable('console', 'oidc_issuer')}: must be https")
