"""Leases: attempts under way on each upstream account. Pure; times are on the monotonic clock."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """One attempt's claim on an upstream account."""

    upstream_account_id: str
    expires_s: float


class Leases:
    """Leases by their id. Taking one twice, or ending one twice, does no harm."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._leases: dict[str, Lease] = {}
        self._in_flight: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._leases)

    def held_by(self, lease_id: str) -> str | None:
        """The account of a lease that stands."""
        lease = self._leases.get(lease_id)
        return lease.upstream_account_id if lease else None

    def take(self, lease_id: str, upstream_account_id: str, now_s: float) -> None:
        """Begins a lease."""
        self.end(lease_id)
        self._leases[lease_id] = Lease(upstream_account_id, now_s + self._ttl_s)
        self._in_flight[upstream_account_id] += 1

    def end(self, lease_id: str) -> bool:
        """Ends a lease. False when it does not stand."""
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return False
        self._in_flight[lease.upstream_account_id] -= 1
        if not self._in_flight[lease.upstream_account_id]:
            del self._in_flight[lease.upstream_account_id]
        return True

    def in_flight(self, upstream_account_id: str) -> int:
        """Attempts under way on an account."""
        return self._in_flight.get(upstream_account_id, 0)

    def expire(self, now_s: float) -> int:
        """Ends the leases whose time is over; the oldest stand first, for all live equally long."""
        over = []
        for lease_id, lease in self._leases.items():
            if lease.expires_s > now_s:
                break
            over.append(lease_id)
        for lease_id in over:
            self.end(lease_id)
        return len(over)
