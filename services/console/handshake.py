"""What one sign-in through a provider is recognised by: state, nonce and code verifier. Pure.

All three are made of the session's secret and a random salt that travels in the state, so nothing is stored, replicas
need not know of each other, and an answer is good in the browser that asked and in no other (RFC 9700, 2.1 and 4.7).
"""

import hashlib
import hmac
from dataclasses import dataclass, field

SIGN_IN = "sign-in"
CONNECT = "connect"
INTENTS = (SIGN_IN, CONNECT)


@dataclass(frozen=True, slots=True)
class Handshake:
    """One exchange with a provider, begun to sign in or to connect an identity to who is signed in."""

    secret: str = field(repr=False)
    intent: str
    salt: str

    @property
    def state(self) -> str:
        """Goes to the provider and comes back unchanged."""
        return f"{self.intent}.{self.salt}.{self._mac('state')}"

    @property
    def nonce(self) -> str:
        """What the ID token must repeat."""
        return self._mac("nonce")

    @property
    def verifier(self) -> str:
        """What only its challenge is told of until the code is turned in (PKCE, RFC 7636): 64 characters."""
        return self._mac("verifier")

    def _mac(self, purpose: str) -> str:
        said = f"oidc {purpose} {self.intent} {self.salt}"
        return hmac.new(self.secret.encode(), said.encode(), hashlib.sha256).hexdigest()


def returned(secret: str, state: str) -> Handshake | None:
    """The handshake that a state belongs to, if this browser began it."""
    intent, _, rest = state.partition(".")
    made = Handshake(secret, intent, rest.partition(".")[0])
    if intent in INTENTS and hmac.compare_digest(made.state.encode(), state.encode()):
        return made
    return None


def connect_token(secret: str) -> str:
    """What a link to connect an identity holds, so that no other site can lead somebody to do it."""
    return hmac.new(secret.encode(), b"oidc connect link", hashlib.sha256).hexdigest()
