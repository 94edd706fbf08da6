"""What it costs to resolve a key among a million.

    .venv/bin/python bench/resolving.py [--keys 1000000] [--batches 600] [--out FILE]

Batches of 16 keys drawn at random are resolved by auth over gRPC, none of them in any cache of ours; the CPU is that of
auth and its Postgres. First among a thousand keys, then among all. It fails where these cost more than twice as much.
"""

import argparse
import hashlib
import random
import statistics
import sys
import tempfile
from pathlib import Path

import psycopg

from bench import figures, processes, targets
from bench.figures import Figure
from tests.books import superuser_url
from tests.deployment import Deployment
from tollhouse.v1 import auth_pb2

FEW = 1_000
BATCH = 16
ROUNDS = 3
MOST_RATIO = 2.0
_COMMAND = "resolving.py"
_ADD = (
    "INSERT INTO auth.keys (key_id, tenant_id, name, key_hash, hint)"
    " SELECT 'key_bench_' || n, %s, 'bench', sha256(('bench-' || n)::bytea), ''"
    " FROM generate_series(%s::int, %s::int) n"
)


def add_keys(database_url: str, first: int, beyond: int) -> None:
    """Stores keys of such numbers, as they would be long since stored."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_ADD, (targets.DEMO, first, beyond - 1))
        connection.execute("VACUUM ANALYZE auth.keys")


def cost_us(gateway: Deployment, keys: int, batches: int, seed: int) -> float:
    """Microseconds of CPU a key, of auth and Postgres."""
    dice, parts = random.Random(seed), [*gateway.pids("auth"), *gateway.pids("postgres")]
    requests = []
    for _ in range(batches):
        request = auth_pb2.AuthDecideRequest(edge="bench/1")
        for number in range(BATCH):
            key_hash = hashlib.sha256(b"bench-%d" % dice.randrange(keys)).digest()
            request.resolve.add(id=number, key_hash=key_hash)
        requests.append(request)
    before_s = processes.cpu_s(parts)
    for request in requests:
        response = gateway.auth.Decide(request)
        if any(item.HasField("error") for item in response.resolve):
            raise SystemExit("a key was not resolved")
    return (processes.cpu_s(parts) - before_s) / (batches * BATCH) * 1e6


def measure(keys: int, batches: int) -> list[Figure]:
    """Among few, among many, and how many times as much that is."""
    with tempfile.TemporaryDirectory() as folder, targets.tollhouse(Path(folder)) as gateway:
        database_url = superuser_url(gateway)
        medians = []
        for first, beyond in ((0, FEW), (FEW, keys)):
            add_keys(database_url, first, beyond)
            cost_us(gateway, beyond, batches, seed=0)  # reads in what the next ones need
            rounds = [cost_us(gateway, beyond, batches, seed) for seed in range(1, ROUNDS + 1)]
            medians.append(statistics.median(rounds))
    few, many = medians
    unit = "us of CPU"
    return [
        Figure("resolve_us_few", f"auth + Postgres, resolve among {FEW:,} keys", unit, few, _COMMAND),
        Figure("resolve_us", f"auth + Postgres, resolve among {keys:,} keys", unit, many, _COMMAND),
        Figure("resolve_ratio", f"resolve among {keys:,} keys", f"times one among {FEW:,}", many / few, _COMMAND),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    found = measure(options.keys, options.batches)
    figures.tell(found, options.out)
    return 0 if found[-1].value <= MOST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
