"""What payment providers tell us. Signatures are checked; everything else is asked of the provider itself."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from services.console.console import console_of
from services.console.guards import public
from services.console.payments.payment import Forged
from services.console.payments.providers import NAMES
from services.shared.telemetry import logger

_log = logger("webhooks")


async def hear(request: Request) -> Response:
    """400 where the signature is not the provider's; 200 for everything else, also what speaks of nothing of ours, as
    a provider would send it again for days. 404 where the provider is not set up."""
    name, cashier = request.url.path.rpartition("/")[2], console_of(request).cashier
    if name not in cashier.providers:
        raise HTTPException(404)
    try:
        await cashier.hear(name, request.headers, await request.body())
    except Forged as forged:
        _log.warning("webhook_forged", provider=name, error=str(forged))
        return PlainTextResponse("The signature is wrong.\n", 400)
    return PlainTextResponse("Heard.\n")


routes = [public(f"/webhooks/{name}", hear, ["POST"]) for name in NAMES]
