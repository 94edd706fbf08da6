"""What auth measures."""

from typing import Final

from services.auth.grants import Grants
from services.auth.grpc_api import AuthApi
from services.shared.metrics import ITEMS, Exposition, counter, gauge, histogram
from services.shared.money import NANO_PER_DOLLAR

ADMISSIONS: Final = counter(
    "tollhouse_auth_admissions", "requests that asked for a hold: `admitted`, or the kind of their refusal", "result"
)
BATCHES: Final = histogram("tollhouse_auth_batch_items", "items of a batch of questions from an edge", bounds=ITEMS)
RAISES: Final = counter(
    "tollhouse_auth_grant_raises", "raises of credit grants by the ledger: `ok`, or the kind of what failed", "result"
)
GRANTS_LOST: Final = counter("tollhouse_auth_grants_lost", "credit grants that the ledger had ended in the meantime")
ORPHANED: Final = counter(
    "tollhouse_auth_holds_orphaned", "holds that their edge did not renew, and that were booked as it last told them"
)
TENANTS: Final = gauge("tollhouse_auth_tenants", "tenants whose credit is known here")
HOLDS: Final = gauge("tollhouse_auth_holds", "holds that stand")
HELD: Final = gauge("tollhouse_auth_held_dollars", "what is held, in dollars")
GRANTED: Final = gauge(
    "tollhouse_auth_granted_dollars",
    "what grants of balances have left beside what was settled, held included, dollars",
)
WAITING: Final = gauge("tollhouse_auth_waiting", "requests that wait for the ledger to raise a grant")


def show(exposition: Exposition, grants: Grants, api: AuthApi) -> None:
    """Shows what the parts of auth count."""
    exposition.show(ADMISSIONS, api.admissions.items)
    exposition.add(BATCHES, api.batches)
    exposition.show(RAISES, grants.raises.items)
    exposition.show(GRANTS_LOST, lambda: grants.lost)
    exposition.show(ORPHANED, lambda: grants.orphaned)
    exposition.show(TENANTS, lambda: grants.figures()["tenants"])
    exposition.show(HOLDS, lambda: grants.figures()["holds"])
    exposition.show(HELD, lambda: grants.totals().held_nano / NANO_PER_DOLLAR)
    exposition.show(GRANTED, lambda: grants.totals().left_nano / NANO_PER_DOLLAR)
    exposition.show(WAITING, lambda: grants.totals().waiting)
