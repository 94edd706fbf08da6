"""The last decisions of a router, for whoever asks how a request was routed. Pure.

Keeping one costs an object and an append; nothing is put into words before somebody asks.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from services.router.picker import PROVING, Looked
from tollhouse.v1 import router_pb2

_SHOWN: Final = {PROVING: "probing"}


@dataclass(slots=True)
class Kept:
    """How one pick was decided."""

    lease_id: str
    at_ms: int
    pool: str
    model: str
    family: str
    account_id: str
    reason: str
    looked: Looked
    serving: int
    waited_ms: int = 0
    outcome: router_pb2.Outcome.ValueType = router_pb2.OUTCOME_UNSPECIFIED


class Decisions:
    """The last `most` decisions.

    Args:
        most: how many are kept.
        replica: the name of this replica of the router.
    """

    def __init__(self, most: int, replica: str) -> None:
        self._most = most
        self._replica = replica
        self._kept: deque[Kept] = deque()
        self._under_way: dict[str, Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, kept: Kept) -> None:
        """Keeps a decision; the oldest goes when there are too many."""
        if len(self._kept) >= self._most:
            gone = self._kept.popleft()
            if self._under_way.get(gone.lease_id) is gone:
                del self._under_way[gone.lease_id]
        self._kept.append(kept)
        if kept.account_id:
            self._under_way[kept.lease_id] = kept

    def ended(self, lease_id: str, outcome: router_pb2.Outcome.ValueType) -> None:
        """Notes how an attempt ended."""
        kept = self._under_way.pop(lease_id, None)
        if kept is not None:
            kept.outcome = outcome

    def of(self, request_id: str) -> list[router_pb2.Decision]:
        """How the attempts of a request were decided, the first one first."""
        prefix = f"{request_id}:"
        return [self._told(kept) for kept in self._kept if kept.lease_id.startswith(prefix)]

    def _told(self, kept: Kept) -> router_pb2.Decision:
        decision = router_pb2.Decision(
            lease_id=kept.lease_id,
            at_ms=kept.at_ms,
            pool=kept.pool,
            model=kept.model,
            family=kept.family,
            upstream_account_id=kept.account_id,
            reason=kept.reason,
            serving=kept.serving,
            replica=self._replica,
            outcome=kept.outcome,
            waited_ms=kept.waited_ms,
        )
        for account, found, load in kept.looked:
            picked = account.upstream_account_id == kept.account_id
            decision.candidates.add(
                upstream_account_id=account.upstream_account_id,
                name=account.name,
                priority=account.priority,
                verdict="picked" if picked else _SHOWN.get(found, found),
                load=load,
            )
        return decision
