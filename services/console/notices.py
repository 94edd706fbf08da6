"""What a page says once, after a change that led to it. Only these texts can be said: the cookie holds a key."""

from typing import Final

NOTICES: Final = {
    "welcome": "Welcome. Your account is ready.",
    "signed_out": "You are signed out.",
    "password_changed": "Your password is changed, and your other sessions have ended.",
    "connected": "You can sign in through the provider from now on.",
    "codes_off": "You sign in with your password alone again.",
    "key_changed": "The changes are saved, and hold from now on.",
    "key_enabled": "The key can be used again.",
    "key_disabled": "The key is disabled: requests with it are refused.",
    "key_deleted": "The key is deleted.",
    "keys_deleted": "The keys are deleted.",
    "keys_not_chosen": "Tick the keys that are meant first.",
    "key_made_before": "This key was made a moment ago already.",
    "voucher_redeemed": "The voucher is redeemed: its credit is yours to use.",
    "voucher_redeemed_before": "You had redeemed this voucher before; nothing has changed.",
    "token_revoked": "The access token is revoked.",
    "session_ended": "The session has ended.",
    "sessions_ended": "Your other sessions have ended.",
}
