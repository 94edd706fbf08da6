"""Customers for tests of the console: with credit, with keys made on its pages."""

import re
from typing import Any

from services.shared import ids
from tests.deployment import Deployment
from tests.visitors import Visitor, customer, text_of
from tollhouse.v1 import billing_pb2

KEYS = "/dashboard/keys"


def voucher(tollhouse: Deployment, dollars: int = 5) -> str:
    """A new voucher's code."""
    made = tollhouse.billing.CreateVouchers(
        billing_pb2.CreateVouchersRequest(
            count=1,
            amount_nano=dollars * 1_000_000_000,
            funding=billing_pb2.VOUCHER_FUNDING_GIFT,
            batch_id=ids.ulid(),
            reason="test",
            actor="test",
        )
    )
    return made.codes[0]


def customer_with_credit(tollhouse: Deployment) -> Visitor:
    """Somebody who has just registered and redeemed a voucher."""
    visitor = customer(tollhouse)
    billing = "/dashboard/billing"
    answer = visitor.send(billing, f"{billing}/voucher", voucher=voucher(tollhouse))
    assert answer.status_code == 303, text_of(answer)
    return visitor


def make_key(visitor: Visitor, **fields: Any) -> tuple[str, str]:
    """Makes a key on the page; answers its path and its secret."""
    answer = visitor.send(f"{KEYS}/new", KEYS, idempotency_key=ids.ulid(), **({"name": "test"} | fields))
    assert answer.status_code == 200, text_of(answer)
    secret = re.search(r'data-copy="(\S+?)">Copy</button></span>\s*<div class="row">', answer.text)
    path = re.search(rf'href="({KEYS}/key_\w+)">Done', answer.text)
    assert secret is not None, answer.text
    assert path is not None, answer.text
    return path[1], secret[1]


def edit_key(visitor: Visitor, path: str, **fields: Any) -> Any:
    """Sends the form of a key with these fields; what is not named is left empty."""
    return visitor.send(path, path, **({"name": "test"} | fields))
