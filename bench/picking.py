"""What a pick costs among 10 to 10,000 upstream accounts: without gRPC.

    .venv/bin/python bench/picking.py [--picks 5000] [--out FILE]

Each figure is the best of several rounds, in microseconds of CPU a pick and its report, through the decider with its
leases and affinity. The last column is what 10,000 accounts cost for what 10 cost; above 2 the bench
fails.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import figures
from bench.figures import Figure
from services.router.accounts import Account
from services.router.affinity import PoolAccounts
from services.router.decide import Decider
from services.router.health import Verdict
from services.router.leases import Leases
from services.router.settings import RouterSettings
from services.shared.settings import Secret
from tollhouse.v1 import router_pb2

MODEL = "claude-sonnet-4-5"
COUNTS = (10, 100, 1_000, 10_000)
ROUNDS = 5
BATCH = 16
MOST_RATIO = 2.0
MOST = "a pick and its report among 10,000 upstream accounts"
COMMAND = "picking.py"
SETTINGS = RouterSettings(database_url=Secret(""), nats_url=Secret(""), master_key=Secret(""))


@dataclass
class Pools:
    """One pool of accounts that serve one model."""

    accounts: PoolAccounts

    def pool(self, name: str) -> PoolAccounts | None:
        return self.accounts

    def family(self, model: str) -> str:
        return "claude-sonnet"


@dataclass
class Health:
    """Some accounts cool for good, all others are ready: the least that health can cost."""

    cooling: frozenset[str]

    def verdict(self, account_id: str, family: str, now_ms: int) -> Verdict:
        return Verdict.COOLING if account_id in self.cooling else Verdict.READY

    def until_ms(self, account_id: str, family: str) -> int:
        return 0

    def cause(self, account_id: str, family: str) -> router_pb2.Cause.ValueType:
        return router_pb2.CAUSE_REFUSED

    def left(self, account_id: str, now_ms: int) -> float:
        return 1.0

    def began(self, account_id: str, family: str, lease_id: str, now_ms: int) -> None:
        pass

    def ended(
        self,
        account_id: str,
        family: str,
        lease_id: str,
        report: router_pb2.ReportItem,
        now_ms: int,
        others_healthy: Callable[[], bool],
    ) -> None:
        pass


def decider(count: int, cooling_share: float) -> Decider:
    """A decider over one pool of so many accounts, a share of which cools."""
    accounts = [
        Account(f"acc_{n}", f"account-{n}", "anthropic", "https://api", "key", {MODEL: MODEL}, 0, True, 0)
        for n in range(count)
    ]
    cooling = random.Random(1).sample(accounts, round(count * cooling_share))
    health = Health(frozenset(account.upstream_account_id for account in cooling))
    return Decider(Pools(PoolAccounts("default", accounts)), Leases(3600), health, SETTINGS)


def batches(picks: int, conversations: int, seed: int) -> list[router_pb2.RouterDecideRequest]:
    """Batches of picks, each of which reports the batch before; `conversations` of 0 means none."""
    dice = random.Random(seed)
    requests: list[router_pb2.RouterDecideRequest] = []
    before: list[router_pb2.ReportItem] = []
    for start in range(0, picks, BATCH):
        request = router_pb2.RouterDecideRequest()
        request.report.extend(before)
        before = []
        for n in range(start, start + BATCH):
            named = dice.randrange(conversations).to_bytes(8, "big") if conversations else b""
            request.pick.add(id=n, lease_id=f"req_{seed}_{n}:1", model=MODEL, pool="default", conversation=named)
            before.append(router_pb2.ReportItem(lease_id=f"req_{seed}_{n}:1", outcome=router_pb2.OUTCOME_OK))
        requests.append(request)
    requests.append(router_pb2.RouterDecideRequest(report=before))
    return requests


def cost_us(count: int, cooling_share: float, conversations: int, picks: int) -> float:
    """Microseconds of CPU for a pick and its report: the best of some rounds."""
    decide = decider(count, cooling_share).decide
    best = float("inf")
    for seed in range(ROUNDS + 1):  # the first one only makes conversations known
        requests = batches(picks, conversations, seed)
        began = time.process_time()
        for request in requests:
            decide(request)
        if seed:
            best = min(best, (time.process_time() - began) / picks * 1e6)
    return best


SCENES = (
    ("no conversation", 0.0, 0),
    ("known conversations", 0.0, 2_000),
    ("new conversations", 0.0, 1 << 60),
    ("no conversation, half cooling", 0.5, 0),
    ("known conversations, half cooling", 0.5, 2_000),
    ("new conversations, half cooling", 0.5, 1 << 60),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picks", type=int, default=5_000)
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    picks = options.picks // BATCH * BATCH
    print(f"| us of CPU, a pick among | {' | '.join(f'{count:,}' for count in COUNTS)} | ratio |")
    print("|---" * (len(COUNTS) + 2) + "|")
    found, worst = [], 0.0
    for number, (name, cooling_share, conversations) in enumerate(SCENES):
        costs = [cost_us(count, cooling_share, conversations, picks) for count in COUNTS]
        ratio = costs[-1] / costs[0]
        worst = max(worst, ratio)
        print(f"| {name} | {' | '.join(f'{cost:.1f}' for cost in costs)} | {ratio:.2f} |")
        found.append(Figure(f"pick_us_{number}", f"{MOST}, {name}", "us of CPU", costs[-1], COMMAND))
    print()
    found.append(Figure("pick_ratio", f"{MOST}, at worst", "times one among 10", worst, COMMAND))
    figures.tell(found, options.out)
    return 0 if worst <= MOST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
