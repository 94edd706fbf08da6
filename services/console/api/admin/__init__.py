"""/api/admin/v1: all that operators do, for their programs. One noun a file, each with its `operations`."""

from typing import Final

from services.console.api.admin import (
    accounts,
    books,
    keys,
    payments,
    people,
    plans,
    prices,
    routing,
    tenants,
    usage,
    vouchers,
)
from services.console.api.operation import Operation

OPERATIONS: Final[tuple[Operation, ...]] = (
    *tenants.operations,
    *keys.operations,
    *plans.operations,
    *routing.operations,
    *accounts.operations,
    *prices.operations,
    *vouchers.operations,
    *payments.operations,
    *usage.operations,
    *books.operations,
    *people.operations,
)
