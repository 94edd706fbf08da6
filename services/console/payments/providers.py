"""The providers that the settings name."""

from services.console.payments.btcpay import BtcPay
from services.console.payments.nowpayments import NowPayments
from services.console.payments.payment import Provider
from services.console.payments.stripe_checkout import StripeCheckout
from services.console.settings import ConsoleSettings

NAMES = (StripeCheckout.name, NowPayments.name, BtcPay.name)
"""Every provider that there is; its webhooks come to /webhooks/<name>."""


def providers(settings: ConsoleSettings) -> list[Provider]:
    """Each with its secrets; none where there are none. Where two take coins, people see which is which."""
    found: list[Provider] = []
    coins = settings.crypto_coins
    both = settings.nowpayments_key is not None and settings.btcpay_key is not None
    if settings.stripe_key and settings.stripe_webhook_secret:
        found.append(StripeCheckout(settings.stripe_key, settings.stripe_webhook_secret, settings.stripe_url))
    if settings.nowpayments_key and settings.nowpayments_ipn_secret:
        account = settings.nowpayments_email, settings.nowpayments_password
        found.append(
            NowPayments(
                settings.nowpayments_url,
                settings.nowpayments_key,
                settings.nowpayments_ipn_secret,
                f"{coins} by NOWPayments" if both else coins,
                f"{settings.public_url.rstrip('/')}/webhooks/{NowPayments.name}" if settings.public_url else "",
                (account[0], account[1]) if account[0] and account[1] else None,
            )
        )
    if settings.btcpay_key and settings.btcpay_webhook_secret:
        found.append(
            BtcPay(
                settings.btcpay_url,
                settings.btcpay_store,
                settings.btcpay_key,
                settings.btcpay_webhook_secret,
                f"{coins} by BTCPay Server" if both else coins,
            )
        )
    return found
