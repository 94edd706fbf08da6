"""Settings of the console."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from services.shared.addresses import Address
from services.shared.settings import Secret, SettingsError, setting, variable
from services.shared.tls import TlsSettings

_TOGETHER: Final = (
    ("oidc_issuer", "oidc_client_id"),
    ("stripe_key", "stripe_webhook_secret"),
    ("nowpayments_key", "nowpayments_ipn_secret"),
    ("nowpayments_email", "nowpayments_password"),
    ("btcpay_url", "btcpay_store", "btcpay_key", "btcpay_webhook_secret"),
)


@dataclass(frozen=True)
class ConsoleSettings(TlsSettings):
    """Read from TOLLHOUSE_CONSOLE_*."""

    database_url: Secret = setting("libpq URL of Postgres, as the role tollhouse_console")
    master_key: Secret = setting(
        "base64 of the 32 bytes that the secrets of one-time codes, and answers to repeat, are sealed under"
    )
    ledger_token: Secret = setting("the ledger's internal service token")
    other_master_keys: Secret | None = setting(
        "further master keys that something may be sealed under, between commas, while the key is changed", default=None
    )
    host: str = setting("address to listen on for browsers", default="127.0.0.1")
    port: int = setting("port to listen on for browsers", default=8090, at_least=1, at_most=65535)
    ops_host: str = setting("address to listen on for /healthz, /readyz and /metrics", default="127.0.0.1")
    ops_port: int = setting(
        "port to listen on for /healthz, /readyz and /metrics", default=8091, at_least=1, at_most=65535
    )
    auth_address: Address = setting(
        "host:port of auth's gRPC; of several replicas a name that leads to all of them, or their IPs and ports"
        " between commas",
        default=Address("127.0.0.1:7001"),
    )
    router_address: Address = setting("the same of the router's", default=Address("127.0.0.1:7002"))
    ledger_address: Address = setting("the same of the ledger's", default=Address("127.0.0.1:7003"))
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
    keys_per_tenant: int = setting(
        "keys that a tenant may have before its people can make no more; operators can", default=1000, at_least=1
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
    stripe_key: Secret | None = setting("Stripe's secret API key; cards are not taken without", default=None)
    stripe_webhook_secret: Secret | None = setting("what Stripe signs its webhooks with", default=None)
    stripe_url: str = setting("where Stripe's API is", default="https://api.stripe.com")
    nowpayments_key: Secret | None = setting("NOWPayments' API key; it is not used without", default=None)
    nowpayments_ipn_secret: Secret | None = setting("what NOWPayments signs its webhooks with", default=None)
    nowpayments_url: str = setting("where NOWPayments' API is", default="https://api.nowpayments.io")
    nowpayments_email: str = setting(
        "address of the account at NOWPayments, to find payments whose webhooks were lost; they stay lost without",
        default="",
    )
    nowpayments_password: Secret | None = setting("password of the account at NOWPayments", default=None)
    btcpay_url: str = setting("where a BTCPay Server is; it is not used without", default="")
    btcpay_store: str = setting("id of the store on the BTCPay Server", default="")
    btcpay_key: Secret | None = setting("API key of the store, which may view and create invoices", default=None)
    btcpay_webhook_secret: Secret | None = setting("what the BTCPay Server signs its webhooks with", default=None)
    crypto_coins: str = setting("the coins that pages say are taken", default="USDT, BTC, ETH")
    public_url: str = setting(
        "scheme and host under which payment providers reach the console; without, webhooks come where the provider's"
        " own settings say",
        default="",
    )
    payment_least: int = setting("dollars of one payment, at least", default=5, at_least=1)
    payment_most: int = setting("dollars of one payment, at most", default=1000, at_least=1, at_most=100_000)
    payments_check_s: float = setting(
        "seconds between two looks for payments whose provider is to be asked how they stand", default=10, at_least=0.1
    )
    drain_s: float = setting("seconds that requests under way get when the console stops", default=10, at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for group in _TOGETHER:
            if len({bool(getattr(self, name)) for name in group}) > 1:
                names = [variable("console", name) for name in group]
                raise SettingsError(f"{' and '.join(names)} are set together or not at all")
        if self.payment_least > self.payment_most:
            raise SettingsError(f"{variable('console', 'payment_least')} is above the most")
        for name in ("oidc_issuer", "stripe_url", "nowpayments_url", "btcpay_url"):
            said = getattr(self, name)
            parts = urlsplit(said)
            if said and parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
                raise SettingsError(f"{variable('console', name)}: must be https")
