"""Unit tests of services.console.settings."""

import pytest

from services.console.settings import ConsoleSettings
from services.shared.settings import SettingsError, load

NEEDED = {"DATABASE_URL": "postgresql://x", "LEDGER_TOKEN": "thst_x", "MASTER_KEY": "a2V5"}


def loaded(**more: str) -> ConsoleSettings:
    return load(ConsoleSettings, "console", {f"TOLLHOUSE_CONSOLE_{k}": v for k, v in (NEEDED | more).items()})


def test_a_provider_needs_an_issuer_and_a_client_id() -> None:
    assert loaded().oidc_issuer == ""
    assert loaded(OIDC_ISSUER="https://id.example", OIDC_CLIENT_ID="console").oidc_client_id == "console"
    for alone in ({"OIDC_ISSUER": "https://id.example"}, {"OIDC_CLIENT_ID": "console"}):
        with pytest.raises(SettingsError, match="together"):
            loaded(**alone)


def test_a_provider_is_asked_over_https_unless_it_is_on_this_machine() -> None:
    assert loaded(OIDC_ISSUER="http://127.0.0.1:9", OIDC_CLIENT_ID="console").oidc_issuer
    with pytest.raises(SettingsError, match="https"):
        loaded(OIDC_ISSUER="http://id.example", OIDC_CLIENT_ID="console")


def test_what_a_payment_provider_needs_is_set_together() -> None:
    assert loaded(STRIPE_KEY="k", STRIPE_WEBHOOK_SECRET="s").stripe_key is not None
    for alone in ({"STRIPE_KEY": "k"}, {"NOWPAYMENTS_KEY": "k"}, {"BTCPAY_URL": "https://b.example"}):
        with pytest.raises(SettingsError, match="together"):
            loaded(**alone)
    with pytest.raises(SettingsError, match="above the most"):
        loaded(PAYMENT_LEAST="50", PAYMENT_MOST="10")
    with pytest.raises(SettingsError, match="https"):
        loaded(STRIPE_URL="http://stripe.example")
