"""What page modules reach through `console_of(request)`: everything that lives as long as the process."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from services.console.assets import Assets
from services.console.clients import Clients
from services.console.codes import Codes
from services.console.master_keys import MasterKeys
from services.console.payments.cashier import Cashier
from services.console.people import People
from services.console.provider import Provider
from services.console.rendering import Renderer
from services.console.settings import ConsoleSettings
from services.console.store import Store
from services.console.throttle import Throttle
from services.console.token_store import TokenStore


@dataclass(frozen=True)
class Console:
    """The parts of one console."""

    settings: ConsoleSettings
    store: Store
    tokens: TokenStore
    clients: Clients
    people: People
    throttle: Throttle
    codes: Codes
    master_keys: MasterKeys
    provider: Provider | None
    """The OpenID Connect provider, if the settings name one."""
    cashier: Cashier
    """Payments."""
    assets: Assets
    renderer: Renderer


def console_of(request: Request) -> Console:
    """The console that serves a request."""
    console: Console = request.app.state.console
    return console
