"""100,000 requests a second through 50 edges, simulated: routing and grants, with what breaks in between.

    .venv/bin/python bench/simulation.py [--rate 100000] [--seconds 8] [--processes 4]

Decisions are those of the real modules: the picker, health, leases and affinity of the router, holds and reserves of
auth, and the buckets of both. Time, upstreams, the ledger's database and the network are made up (bench/simulated.py).
One upstream account of each pool dies, the ledger is away for most of the time, an auth replica dies and its tenants
move. Throughout it is checked, for each request as it comes and goes, that

- no tenant's usage and holds are together more than it had, but for what a response cost beyond its hold (I2);
- no request meets a dead upstream account twice, and one that cools is left alone but for its probes (I7);
- no tenant passes its limit of requests a minute.

The first time one of these does not hold the simulation ends with a traceback. CPU is that of this process, in the
decisions alone.
"""

import argparse
import concurrent.futures
import heapq
import math
import os
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from bench.simulated import RATES, Auth, Ledger, Overspent, Pool, owner
from bench.simulated_plan import Plan, Result, table
from services.auth.holds import Hold
from services.router.accounts import Account
from services.shared.pricing import Tokens

ATTEMPTS_MOST = 3
REFUSES_S = 0.02
"""How long a dead upstream account takes to fail."""
BOOKED_S = 0.3
"""Between the end of a request and its booking."""
COOLS_MS = 5_000
"""The shortest cooldown of a failing account: as services/router/health.py has it."""


class Attracted(AssertionError):
    """I7 does not hold."""


@dataclass(slots=True, eq=False)
class Request:
    """One request under way."""

    request_id: str
    tenant: int
    edge: int
    tokens: Tokens
    """What is held for, at first."""
    used: Tokens
    conversation: bytes
    hold: Hold | None = None
    auth: str = ""
    held_nano: int = 0
    grant_id: str = ""
    account: Account | None = None
    tried: frozenset[str] = frozenset()
    attempts: int = 0
    doomed: bool = False
    """Its attempt went to an account that was dead already."""
    stops: bool = False
    """It was refused more output than it has."""


class Simulation:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.result = Result()
        self._dice = random.Random(plan.seed * plan.parts + plan.part)
        weights = [1 / (n + 10) for n in range(plan.tenants)]  # Zipf's law without its steepest part
        rates = [plan.rate * weight / sum(weights) for weight in weights]
        mine = [rate if n % plan.pools % plan.parts == plan.part else 0.0 for n, rate in enumerate(rates)]
        self._weights = list(accumulate(mine))
        self._rate = sum(mine)
        # What lasts 10 s, as after a while of such spending; every fifth tenant has little left, every tenth a limit.
        factors = [1 << max(3, math.ceil(math.log2(rate * 10))) for rate in rates]
        balances = [10**9 // 2 if n % 5 == 4 else 10**14 for n in range(plan.tenants)]
        self.limits = [600 if n % 10 == 9 else 10**9 for n in range(plan.tenants)]
        self.ledger = Ledger(balances)
        self.auths = {f"auth-{n}": Auth(f"auth-{n}", self.ledger, factors) for n in range(plan.auths)}
        self._known = [list(self.auths) for _ in range(plan.edges)]
        self._owners: dict[tuple[int, int], str] = {}
        """By how many auths an edge knows, and tenant."""
        self.pools = [Pool(f"pool-{n}", plan.accounts, self._dice.random) for n in range(plan.pools)]
        self._dead: frozenset[str] = frozenset()
        self._events: list[tuple[float, int, str, Request]] = []
        self._numbers = 0
        self._unbooked: deque[tuple[float, int, str, int]] = deque()
        self._admitted: Counter[tuple[str, int]] = Counter()
        self._committed_nano = [0] * plan.tenants
        """Held and spent of each tenant, counted apart from those who decide."""
        self._beyond_nano = [0] * plan.tenants
        self._in_flight: set[Request] = set()

    def run(self) -> Result:
        """Runs it to its end. Raises Overspent and Attracted."""
        plan, step_s = self.plan, 1 / self._rate
        breaks = deque(self._breaks())
        for number in range(int(self._rate * plan.seconds)):
            now_s = number * step_s
            while breaks and breaks[0][0] <= now_s:
                self._break(breaks.popleft()[1], now_s)
            self._work_off(now_s)
            self._arrive(now_s)
        while breaks:
            self._break(breaks.popleft()[1], plan.seconds)
        self._work_off(math.inf)
        self._check_limits()
        return self._summed_up()

    def _breaks(self) -> Iterator[tuple[float, str]]:
        yield self.plan.accounts_die_s, "accounts die"
        away_s, back_s = self.plan.ledger_away_s
        yield away_s, "ledger away"
        yield back_s, "ledger back"
        yield self.plan.auth_dies_s, "auth dies"

    def _break(self, what: str, now_s: float) -> None:
        if what == "accounts die":
            self._dead = frozenset(pool.tiers.tiers[0].accounts[0].upstream_account_id for pool in self.pools)
        elif what == "auth dies":
            self.auths["auth-0"].up = False
        else:
            self.ledger.away = what == "ledger away"

    def _work_off(self, now_s: float) -> None:
        while self._events and self._events[0][0] <= now_s:
            at_s, _, what, request = heapq.heappop(self._events)
            if what == "grows":
                self._grow(request, at_s)
            else:
                self._end_attempt(request, at_s)
        while self._unbooked and self._unbooked[0][0] <= now_s and not self.ledger.away:
            _, tenant, grant_id, cost_nano = self._unbooked.popleft()
            self.ledger.book(tenant, grant_id, cost_nano)

    # ---- one request ----

    def _arrive(self, now_s: float) -> None:
        dice = self._dice
        self._numbers += 1
        tenant = dice.choices(range(self.plan.tenants), cum_weights=self._weights)[0]
        prompt, answer = 200 + int(dice.expovariate(1 / 2_000)), 50 + int(dice.expovariate(1 / 300))
        likely = dice.random()
        # Inputs are estimated from above; one in a thousand is more than was thought.
        used = Tokens(int(prompt * (1.1 if likely < 0.001 else 0.8)), min(answer, 3 * 1024))
        conversation = (tenant * 8 + dice.randrange(8)).to_bytes(8, "big") if likely < 0.5 else b""
        request = Request(
            f"r{self._numbers}", tenant, dice.randrange(self.plan.edges), Tokens(prompt, 1024), used, conversation
        )
        began_s = time.thread_time()
        refused = self._admit(request, now_s)
        self.result.cpu_s["admit"] += time.thread_time() - began_s
        self.result.told[refused or "admitted"] += 1
        if not refused:
            self._in_flight.add(request)
            self.result.most_in_flight = max(self.result.most_in_flight, len(self._in_flight))
            self._begin_attempt(request, now_s)

    def _admit(self, request: Request, now_s: float) -> str:
        """Asks the tenant's owner; an edge that finds it gone asks the next, and knows from then on."""
        tenant, known = request.tenant, self._known[request.edge]
        auth = self.auths[self._owner(known, tenant)]
        if not auth.up:
            self.result.told["asked a dead auth"] += 1
            known.remove(auth.name)
            self._renew(request.edge, now_s)
            auth = self.auths[self._owner(known, tenant)]
        admitted = auth.admit(tenant, request.request_id, request.tokens, self.limits[tenant], now_s)
        if isinstance(admitted, str):
            self._admitted[auth.name, tenant] += admitted != "limit"  # it took of the limit, and gives it back
            return admitted
        self._admitted[auth.name, tenant] += 1
        request.hold, request.auth, request.grant_id = admitted, auth.name, admitted.grant_id
        self._commit(request, admitted.amount_nano)
        return ""

    def _owner(self, known: list[str], tenant: int) -> str:
        found = self._owners.get((len(known), tenant))
        if found is None:
            found = self._owners[len(known), tenant] = owner(known, f"tenant-{tenant}")
        return found

    def _renew(self, edge: int, now_s: float) -> None:
        """The holds of an edge whose auth is lost are taken over by their next owners."""
        known = self._known[edge]
        for request in self._in_flight:
            if request.edge == edge and request.hold is not None and not self.auths[request.auth].up:
                auth, before = self.auths[self._owner(known, request.tenant)], request.hold
                tenant = auth.tenant(request.tenant)
                lies_in = (tenant.credit,)
                hold = Hold(
                    before.hold_id, "", before.model, RATES, before.input_tokens, before.output_tokens, lies_in, 0
                )
                hold.expires_s = now_s + 60
                tenant.holds.take_over(hold)
                request.hold, request.auth = hold, auth.name
                self.result.told["holds taken over"] += 1

    def _commit(self, request: Request, amount_nano: int) -> None:
        """Notes what is held for a request altogether, and checks I2."""
        tenant = request.tenant
        self._committed_nano[tenant] += amount_nano - request.held_nano
        request.held_nano = amount_nano
        had_nano = self.ledger.books[tenant].opening_nano
        if self._committed_nano[tenant] > had_nano + self._beyond_nano[tenant]:
            raise Overspent(f"tenant {tenant}: {self._committed_nano[tenant]} of {had_nano} held and spent")

    def _begin_attempt(self, request: Request, now_s: float) -> None:
        pool = self.pools[request.tenant % self.plan.pools]
        request.attempts += 1
        began_s = time.thread_time()
        account = pool.pick(f"{request.request_id}:{request.attempts}", request.tried, request.conversation, now_s)
        self.result.cpu_s["pick"] += time.thread_time() - began_s
        request.account = account
        if account is None:
            self._end(request, Tokens(), now_s)
            self.result.told["no account"] += 1
            return
        takes_s = REFUSES_S
        request.doomed = account.upstream_account_id in self._dead
        if request.doomed:
            self._check_attempt(request, account.upstream_account_id, now_s)
        else:
            takes_s = min(0.05 + self._dice.expovariate(1 / 0.4), 3.0)
            if request.used.output > 512:
                heapq.heappush(self._events, (now_s + takes_s / 2, self._numbers, "grows", request))
        heapq.heappush(self._events, (now_s + takes_s, self._numbers, "ends", request))

    def _check_attempt(self, request: Request, account_id: str, now_s: float) -> None:
        """I7: an attempt on a dead account is the request's first there, and no other goes while it cools."""
        self.result.on_dead[account_id] += 1
        if account_id in request.tried:
            raise Attracted(f"{request.request_id} asks {account_id} again")
        if account_id in self.result.cooled:
            cools_s, before = self.result.cooled[account_id]
            self.result.told["probes of dead accounts"] += 1
            cooled_ms = round(now_s * 1000) - round(
                cools_s * 1000
            )  # as the router counts: within 5 s are 5,000 of these
            if self.result.on_dead[account_id] > before + cooled_ms // COOLS_MS:
                raise Attracted(f"{account_id} is asked while it cools, {cooled_ms} ms after it began to")

    def _grow(self, request: Request, now_s: float) -> None:
        """A stream has used half of what it holds for: more is held, or it will stop there."""
        hold, auth = request.hold, self.auths[request.auth]
        assert hold is not None
        if not auth.up:
            return  # until its edge knows who is next
        more = max(hold.output_tokens, request.used.output)
        began_s = time.thread_time()
        grew = auth.extend(request.tenant, hold, more, now_s)
        self.result.cpu_s["extend"] += time.thread_time() - began_s
        if grew:
            self._commit(request, hold.amount_nano)
        else:
            request.stops = True

    def _end_attempt(self, request: Request, now_s: float) -> None:
        account = request.account
        assert account is not None
        pool, account_id = self.pools[request.tenant % self.plan.pools], account.upstream_account_id
        ok = not request.doomed  # what an account began before it died it brings to its end
        pool.report(f"{request.request_id}:{request.attempts}", account, ok=ok, now_s=now_s)
        if not ok:
            if account_id not in self.result.cooled and pool.healths.until_ms(account_id, "") > now_s * 1000:
                self.result.cooled[account_id] = now_s, self.result.on_dead[account_id]
            request.tried |= {account_id}
            if request.attempts < ATTEMPTS_MOST:
                self._begin_attempt(request, now_s)
                return
            self.result.told["failed"] += 1
        assert request.hold is not None
        stopped = request.stops or (request.used.output > request.hold.output_tokens)
        output = min(request.used.output, request.hold.output_tokens) if stopped else request.used.output
        self.result.told["stopped early"] += ok and stopped
        self._end(request, Tokens(request.used.input, output) if ok else Tokens(), now_s)

    def _end(self, request: Request, used: Tokens, now_s: float) -> None:
        """Settles, and has it booked."""
        self._in_flight.discard(request)
        self.result.attempts[request.attempts] += 1
        cost_nano = RATES.cost_nano(used)
        self._beyond_nano[request.tenant] += max(0, cost_nano - request.held_nano)
        self._commit(request, cost_nano)
        auth = self.auths[request.auth]
        if auth.up:
            began_s = time.thread_time()
            auth.tenant(request.tenant).holds.settle(request.request_id, [used], now_s)
            self.result.cpu_s["settle"] += time.thread_time() - began_s
        if cost_nano:
            self.result.spent_nano += cost_nano
            self._unbooked.append((now_s + BOOKED_S, request.tenant, request.grant_id, cost_nano))

    # ---- the end ----

    def _check_limits(self) -> None:
        """Nobody passes a limit a minute, at one owner: where tenants move, each owner has a bucket of its own."""
        minutes = self.plan.seconds / 60
        for (_, tenant), admitted in self._admitted.items():
            if admitted > self.limits[tenant] * (1 + minutes) + 1:
                raise Overspent(f"tenant {tenant}: {admitted} requests of {self.limits[tenant]} a minute")

    def _summed_up(self) -> Result:
        result = self.result
        for tenant, book in enumerate(self.ledger.books):
            if book.shortfall_nano > self._beyond_nano[tenant]:
                raise Overspent(f"tenant {tenant}: a shortfall of {book.shortfall_nano}")
            result.shortfall_nano += book.shortfall_nano
        result.beyond_nano, result.raises = sum(self._beyond_nano), self.ledger.raises
        return result


def in_parts(plan: Plan, parts: int) -> Result:
    """Runs a plan in several processes."""
    plans = [replace(plan, part=part, parts=parts) for part in range(parts)]
    whole = Result()
    with concurrent.futures.ProcessPoolExecutor(parts) as processes:
        for result in processes.map(run, plans):
            whole.add(result)
    return whole


def run(plan: Plan) -> Result:
    """Runs one part of a plan, or all of it."""
    return Simulation(plan).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=Plan.rate, help="requests a second")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="simulated, not waited for")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="the machine's processors, unless said"
    )
    options = parser.parse_args()
    plan = Plan(options.rate, options.seconds, options.seed)
    began_s = time.perf_counter()
    result = in_parts(plan, max(1, min(options.processes, plan.pools)))
    for line in table(plan, result, time.perf_counter() - began_s):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
