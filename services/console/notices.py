"""What a page says once, after a change that led to it. Only these texts can be said: the cookie holds a key."""

from typing import Final

NOTICES: Final = {
    "welcome": "Welcome. Your account is ready.",
    "signed_out": "You are signed out.",
    "password_changed": "Your password is changed, and your other sessions have ended.",
    "connected": "You can sign in through the provider from now on.",
    "codes_off": "You sign in with your password alone again.",
    "payment_decided": "The payment is decided.",
    "payment_meanwhile": "The payment changed meanwhile; please look at it again.",
    "payment_checked": "The provider was asked how the payment stands.",
    "session_ended": "The session has ended.",
    "sessions_ended": "Your other sessions have ended.",
}
