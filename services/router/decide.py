"""Decisions for edges: an upstream account for each attempt, and the end of each lease."""

import asyncio
import random as randomness
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from services.router.accounts import Account
from services.router.affinity import Conversations, PoolAccounts, Tiers, place
from services.router.decisions import Decisions, Kept
from services.router.health import Verdict
from services.router.kinds import KINDS, SIMULATOR
from services.router.leases import AS_ESTIMATED, NOTHING, Lease, Leases, Used
from services.router.picker import ONLY, SPARE, Picked, Turn, pick
from services.router.refusals import Refused, refused
from services.router.settings import RouterSettings
from services.router.sight import AccountsSeen, Health
from services.router.waiting import Waiting
from services.shared import clock
from services.shared.errors import Kind, to_detail
from services.shared.metrics import ITEMS, Distribution, Tally
from services.shared.telemetry import logger
from services.shared.tracing import Tracer
from tollhouse.v1 import router_pb2

_log = logger("decide")

_HEALTHY: Final = frozenset((Verdict.READY, Verdict.UNPROVEN, Verdict.PROBE_DUE))
_TURNED_AWAY: Final = frozenset(
    (
        router_pb2.OUTCOME_THROTTLED,
        router_pb2.OUTCOME_OVERLOADED,
        router_pb2.OUTCOME_REFUSED,
        router_pb2.OUTCOME_FORBIDDEN,
        router_pb2.OUTCOME_OUT_OF_CREDIT,
    )
)
_NO_TOKENS: Final = Used(0, 0)

_SERVE_S: Final = 0.25
_EXPIRE_S: Final = 5.0
_CLOSED_MS: Final = 100


class Pools(Protocol):
    """What decisions need of the catalogue."""

    def pool(self, name: str) -> PoolAccounts | None:
        """The accounts of a pool; None for one that does not exist."""
        ...

    def family(self, model: str) -> str:
        """The family that a model's health is kept for."""
        ...


class Decider:
    """Picks upstream accounts and ends leases, a batch at a time.

    Args:
        catalog: the pools.
        leases: attempts under way.
        cooldowns: the health of upstream accounts.
        settings: the router's.
        random: gives numbers from 0.0 to below 1.0.
        replica: the name of this replica, for whoever asks how a request was routed.
        tracer: exports the spans of picks that are traced, if anybody does.
    """

    def __init__(
        self,
        catalog: Pools,
        leases: Leases,
        cooldowns: Health,
        settings: RouterSettings,
        *,
        random: Callable[[], float] = randomness.random,
        replica: str = "",
        tracer: Tracer | None = None,
    ) -> None:
        self._catalog = catalog
        self._leases = leases
        self._cooldowns = cooldowns
        self._random = random
        self._tracer = tracer
        self._decisions = Decisions(settings.decisions, replica)
        self._conversations = Conversations(
            settings.conversations, round(settings.conversation_idle_s * clock.MS_PER_S)
        )
        self._waiting = Waiting(self._try_again, self._refuse)
        self._closed: dict[tuple[str, str], tuple[Tiers, Refused, int]] = {}
        self.picks = Tally()
        """By reason, or by the kind of the refusal."""
        self.outcomes: defaultdict[tuple[str, router_pb2.Outcome.ValueType], int] = defaultdict(int)
        """Ended attempts, by the kind of the upstream account and by outcome."""
        self.batches = Distribution(ITEMS)

    def decide(
        self, request: router_pb2.RouterDecideRequest
    ) -> tuple[router_pb2.RouterDecideResponse, list[Awaitable[router_pb2.RouterDecideResponse]]]:
        """What is known at once, and awaitables of picks that wait."""
        response = router_pb2.RouterDecideResponse(sequence=request.sequence)
        later: list[Awaitable[router_pb2.RouterDecideResponse]] = []
        self.batches.observe(len(request.pick) + len(request.report))
        now_ms = clock.now_ms()
        # What ends a lease of this very batch waits for it; everything else frees slots for the picks to come, and
        # first of all for those that wait already.
        reports = request.report[:]  # a list, as below: upb's own iterators end with a costly exception
        late = self._end_all(reports, now_ms)
        for item in request.pick[:]:
            account = self._pick(item, now_ms, now_ms)
            if not isinstance(account, Refused):
                self._add(response, item, account)
            elif item.wait_ms and account.within(now_ms + item.wait_ms) and not self._waiting.full():
                later.append(self._waiting.add(item, account, now_ms))
            else:
                response.MergeFrom(self._refuse(item, now_ms, account))
        self._end_all(late, now_ms)
        for report in reports:
            response.report.add(id=report.id)
        return response, later

    async def decide_all(self, request: router_pb2.RouterDecideRequest) -> router_pb2.RouterDecideResponse:
        """The same, once everything is known."""
        response, later = self.decide(request)
        for awaitable in later:
            response.MergeFrom(await awaitable)
        return response

    @property
    def waiting(self) -> int:
        """Picks that wait for an upstream account."""
        return len(self._waiting)

    def explain(self, request_id: str) -> list[router_pb2.Decision]:
        """How a request was routed, as far as this replica remembers; in the order of its attempts."""
        return self._decisions.of(request_id)

    async def run(self) -> None:
        """Ends leases that nobody gave back, and has those who wait see what other replicas and operators changed;
        until cancelled."""
        next_expiry_s = clock.monotonic_s() + _EXPIRE_S
        while True:
            await asyncio.sleep(_SERVE_S)
            self._waiting.serve()
            if clock.monotonic_s() >= next_expiry_s:
                next_expiry_s = clock.monotonic_s() + _EXPIRE_S
                self.expire(clock.monotonic_s())

    def expire(self, now_s: float) -> None:
        """Ends the leases whose time is over; they tell nothing of their accounts."""
        expired = self._leases.expire(now_s)
        for lease_id, lease in expired.items():
            report = router_pb2.ReportItem(lease_id=lease_id, outcome=router_pb2.OUTCOME_UNUSED)
            self._ended(lease_id, lease, report, clock.now_ms())
        if expired:
            _log.warning("leases_expired", count=len(expired))

    # ---- picks ----

    def _pick(self, item: router_pb2.PickItem, now_ms: int, began_ms: int) -> Account | Refused:
        """Leases an account. `began_ms` is when the item was first tried."""
        pool = self._catalog.pool(item.pool)
        if pool is None:
            return Refused(Kind.NO_HEALTHY_ACCOUNT, f"there is no pool {item.pool!r}")
        tiers = pool.serving(item.model)
        if tiers is None:
            # Clients read this: which pools there are is the operator's own.
            return Refused(Kind.MODEL_UNKNOWN, f"there is no model {item.model!r}")
        standing = self._leases.standing(item.lease_id)
        if standing is not None and standing.model == item.model:
            account = tiers.get(standing.account.upstream_account_id)
            if account is not None:
                return account
        closed = self._known_closed(item, tiers, now_ms)
        if closed is not None:
            return closed
        family, now_s = self._catalog.family(item.model), clock.monotonic_s()
        sight = AccountsSeen(self._leases, self._cooldowns, item, frozenset(item.exclude[:]), family, now_ms, now_s)
        picked = self._choose(tiers, item, sight)
        if picked.account is None:
            sight.exclude = frozenset()
            among = [only for only in (tiers.get(item.only),) if only is not None] if item.only else tiers
            speaking = [account for account in among if sight.speaks(account)]
            if not speaking and any(among):
                return Refused(Kind.MODEL_UNKNOWN, f"there is no model {item.model!r} that can be asked for this")
            answer = refused(item.model, speaking, () if item.only else item.exclude, sight, picked.looked)
            if answer.all_cool and not item.exclude and not item.only and not item.kinds:
                self._closed[item.pool, item.model] = (tiers, answer, now_ms)
            return answer
        account = picked.account
        account_id = account.upstream_account_id
        self._leases.take(item.lease_id, account, item.model, family, now_s, item.input_tokens, item.output_tokens)
        self._cooldowns.began(account_id, family, item.lease_id, now_ms)
        self._remember(item, picked, family, tiers.count, now_ms, began_ms)
        return account

    def _choose(self, tiers: Tiers, item: router_pb2.PickItem, sight: AccountsSeen) -> Picked:
        if item.only:
            return self._only(tiers, item, sight)
        turn: Turn | None = None
        if item.conversation:
            home = self._conversations.home(item.pool, item.model, item.conversation, sight.now_ms)
            turn = Turn(place(item.conversation), home, self._conversations.live(item.pool, item.model))
        picked = pick(tiers, turn, sight, self._random)
        if turn is not None and picked.account is not None:
            if picked.settles:
                self._conversations.settle(item.pool, item.model, item.conversation, picked.account, sight.now_ms)
            else:
                self._conversations.used(item.pool, item.model, item.conversation, sight.now_ms)
        return picked

    def _only(self, tiers: Tiers, item: router_pb2.PickItem, sight: AccountsSeen) -> Picked:
        """The account that was asked for, however it is; its limits hold."""
        picked = Picked(reason=ONLY)
        account = tiers.get(item.only)
        if account is not None:
            reached = self._leases.reached(account, item.input_tokens, item.output_tokens, sight.now_s)
            picked.see(account, reached or SPARE, sight.in_flight(item.only))
            picked.account = None if reached else account
        return picked

    def _known_closed(self, item: router_pb2.PickItem, tiers: Tiers, now_ms: int) -> Refused | None:
        """What was found a moment ago, when every account cooled: in a provider's outage 10,000 accounts are not asked
        for each request."""
        known = self._closed.get((item.pool, item.model))
        if known is None or item.exclude or item.only or item.kinds:
            return None
        closed_tiers, answer, at_ms = known
        if closed_tiers is tiers and now_ms < at_ms + _CLOSED_MS and not 0 < answer.earliest_ms <= now_ms:
            return answer
        del self._closed[item.pool, item.model]
        return None

    def _remember(
        self, item: router_pb2.PickItem, picked: Picked, family: str, serving: int, now_ms: int, began_ms: int
    ) -> None:
        account_id = picked.account.upstream_account_id if picked.account else ""
        self.picks[picked.reason,] += 1
        if item.traceparent and self._tracer is not None:
            self._trace(self._tracer, item, picked, now_ms - began_ms)
        self._decisions.keep(
            Kept(
                item.lease_id,
                now_ms,
                item.pool,
                item.model,
                family,
                account_id,
                picked.reason,
                picked.looked,
                serving,
                now_ms - began_ms,
            )
        )

    def _trace(self, tracer: Tracer, item: router_pb2.PickItem, picked: Picked, waited_ms: int) -> None:
        span = tracer.begin("pick", item.traceparent, waited_ms)
        if span is not None:
            said = {"tollhouse.pool": item.pool, "tollhouse.pick.reason": picked.reason}
            span.end(said, error="" if picked.account else picked.reason)

    def _try_again(self, item: router_pb2.PickItem, began_ms: int) -> router_pb2.RouterDecideResponse | Refused:
        """A pick that waits."""
        account = self._pick(item, clock.now_ms(), began_ms)
        if isinstance(account, Refused):
            return account
        response = router_pb2.RouterDecideResponse()
        self._add(response, item, account)
        return response

    def _refuse(self, item: router_pb2.PickItem, began_ms: int, answer: Refused) -> router_pb2.RouterDecideResponse:
        """The answer for an item that no account takes."""
        now_ms = clock.now_ms()
        picked = Picked(reason=answer.kind.label, looked=answer.looked)
        self._remember(item, picked, self._catalog.family(item.model), answer.serving, now_ms, began_ms)
        response = router_pb2.RouterDecideResponse()
        response.pick.add(id=item.id, error=to_detail(answer.refusal(now_ms)))
        return response

    def _add(self, response: router_pb2.RouterDecideResponse, item: router_pb2.PickItem, account: Account) -> None:
        """The answer for an item that an account takes."""
        family = self._catalog.family(item.model)
        verdict = self._cooldowns.verdict(account.upstream_account_id, family, clock.now_ms())
        response.pick.add(
            id=item.id,
            upstream_account_id=account.upstream_account_id,
            kind=KINDS[account.kind],
            base_url=account.base_url,
            credential=account.credential,
            upstream_model=account.models[item.model],
            headers=account.headers,
            proxy=account.proxy,
            probe=verdict is Verdict.PROBING,
        )

    # ---- reports ----

    def _end_all(self, reports: Sequence[router_pb2.ReportItem], now_ms: int) -> list[router_pb2.ReportItem]:
        """Ends leases, and has those who wait for their slots served. The reports of leases that do not stand."""
        freed: set[str] = set()
        unknown = []
        for report in reports:
            if report.outcome == router_pb2.OUTCOME_ANSWERING:
                self._answering(report, now_ms)
                continue
            lease = self._leases.end(report.lease_id, clock.monotonic_s(), _used(report))
            if lease is None:
                self._waiting.withdraw(report.lease_id)
                unknown.append(report)
                continue
            self._ended(report.lease_id, lease, report, now_ms)
            freed.add(lease.account.pool)
        for pool in freed:
            self._waiting.serve(pool)
        return unknown

    def _ended(self, lease_id: str, lease: Lease, report: router_pb2.ReportItem, now_ms: int) -> None:
        """Notes how an attempt ended."""
        self._closed.clear()
        self.outcomes[lease.account.kind, report.outcome] += 1
        self._decisions.ended(lease_id, report.outcome)
        self._tell(lease_id, lease, report, now_ms)

    def _tell(self, lease_id: str, lease: Lease, report: router_pb2.ReportItem, now_ms: int) -> None:
        """Tells the account's health of an attempt."""
        account_id = lease.account.upstream_account_id
        if report.outcome == router_pb2.OUTCOME_REFUSED and not self._is_current(lease):
            # It is the credential of before that was refused.
            report = router_pb2.ReportItem(lease_id=lease_id, outcome=router_pb2.OUTCOME_UNUSED)
        if lease.account.kind == SIMULATOR and report.outcome != router_pb2.OUTCOME_OK:
            # Its faults are scripted by whoever calls: one caller's script must not cool it for the others.
            report = router_pb2.ReportItem(lease_id=lease_id, outcome=router_pb2.OUTCOME_UNUSED)
        self._cooldowns.ended(
            account_id, lease.family, lease_id, report, now_ms, lambda: self._others_healthy(lease, now_ms)
        )

    def _is_current(self, lease: Lease) -> bool:
        """Whether an attempt used the credential that its account has now."""
        pool = self._catalog.pool(lease.account.pool)
        tiers = pool.serving(lease.model) if pool is not None else None
        account = tiers.get(lease.account.upstream_account_id) if tiers is not None else None
        return account is None or account.credential == lease.account.credential

    def _answering(self, report: router_pb2.ReportItem, now_ms: int) -> None:
        """A probe has succeeded: others may go, while its answer goes on."""
        lease = self._leases.standing(report.lease_id)
        if lease is not None:
            answered = router_pb2.ReportItem(lease_id=report.lease_id, outcome=router_pb2.OUTCOME_OK)
            self._tell(report.lease_id, lease, answered, now_ms)
            self._cooldowns.began(lease.account.upstream_account_id, lease.family, report.lease_id, now_ms)
            self._waiting.serve(lease.account.pool)

    def _others_healthy(self, lease: Lease, now_ms: int) -> bool:
        """Whether another account of the pool can serve the lease's model."""
        pool = self._catalog.pool(lease.account.pool)
        tiers = pool.serving(lease.model) if pool is not None else None
        return tiers is not None and any(
            self._cooldowns.verdict(account.upstream_account_id, lease.family, now_ms) in _HEALTHY
            for account in tiers
            if account.upstream_account_id != lease.account.upstream_account_id
        )


def _used(report: router_pb2.ReportItem) -> Used:
    """What an attempt used of its account's limits. What the upstream turned away cost it no tokens; where nothing is
    known of an attempt, the estimate stands."""
    if report.outcome == router_pb2.OUTCOME_UNUSED:
        return NOTHING
    if report.HasField("used"):
        used = report.used
        return Used(used.input + used.cache_write_5m + used.cache_write_1h, used.output)
    return _NO_TOKENS if report.outcome in _TURNED_AWAY else AS_ESTIMATED
