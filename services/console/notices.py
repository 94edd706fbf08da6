"""What a page says once, after a change that led to it. Only these texts can be said: the cookie holds a key."""

from typing import Final

NOTICES: Final = {
    "welcome": "Welcome. Your account is ready.",
    "signed_out": "You are signed out.",
    "password_changed": "Your password is changed, and your other sessions have ended.",
    "connected": "You can sign in through the provider from now on.",
    "codes_off": "You sign in with your password alone again.",
    "session_ended": "The session has ended.",
    "sessions_ended": "Your other sessions have ended.",
    "saved": "Saved. It holds from now on.",
    "added": "Added.",
    "deleted": "Deleted.",
    "cleared": "Its cooldowns have ended.",
    "enabled": "Enabled.",
    "disabled": "Disabled.",
    "credential_replaced": "The credential is replaced, and will be tried with the next request.",
    "adjusted": "The balance has moved.",
    "adjusted_before": "That had been done before: the balance stays as it is.",
    "suspended": "Suspended. Its keys are refused from now on.",
    "resumed": "Resumed. Its keys are accepted again.",
    "priced": "The new row is in the price book.",
    "price_same": "Nothing changed: that is in force already.",
    "voided": "What was open of the batch is void.",
    "replayed": "They are on their way to be booked once more.",
    "person_saved": "Saved. It holds with their next request.",
}
