"""How long the console takes for every page and every list, with two months of a busy deployment behind it.

    .venv/bin/python bench/console.py [--times 10] [--state FOLDER] [--write] [--out FILE]

200 tenants, 2,000 keys, a million usage records of 60 days; 30 % of keys and records are one tenant's. Each address is
asked for in turn, ten times round. It fails where the median of one is above 300 ms, or where the books do not verify.
Then the large tenant's requests of all 60 days are exported, and the memory of console and ledger is watched meanwhile.
With --state the filled deployment is kept in that folder, and taken from there the next time; --write puts the table
into docs/BENCHMARKS.md.
"""

import argparse
import datetime
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import psycopg

from bench import figures, processes, report
from bench.figures import Figure
from bench.history import LARGE, History
from bench.questions import USAGE, Places, Question, Who, questions
from services.shared import ids
from tests.api_callers import token_of
from tests.books import superuser_url
from tests.deployment import Deployment, deployed
from tests.visitors import PASSWORD, Visitor, operator
from tollhouse.v1 import auth_pb2, billing_pb2

BUDGET_MS = 300
BEGIN, END = "<!-- console: begin, written by bench/console.py --write -->", "<!-- console: end -->"
_COMMAND = "console.py"
_CUSTOMER = "customer@bench.example"
_BRAND = "bench"
_BATCHES, _VOUCHERS = 60, 500
_MIB = 1 << 20


class Timed:
    """A question, and how long each answer took, in milliseconds."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.took_ms: list[float] = []
        self.kib = 0.0
        self.status = 0

    @property
    def fault(self) -> str:
        """Why this is not good enough; empty where it is."""
        if not 200 <= self.status < 400:
            return f"is answered {self.status}"
        return f"takes {self.p50_ms:.0f} ms" if self.p50_ms > BUDGET_MS else ""

    @property
    def p50_ms(self) -> float:
        """The median."""
        return statistics.median(self.took_ms)

    def ask(self, client: httpx2.Client) -> None:
        """Once more."""
        began_s = time.monotonic()
        with client.stream("GET", self.question.path) as response:
            pieces = response.iter_raw()
            size = len(next(pieces, b"")) if self.question.streamed else sum(map(len, pieces))
            self.took_ms.append((time.monotonic() - began_s) * 1000)
            self.kib = size / 1024
            self.status = response.status_code


def filled(gateway: Deployment, folder: Path) -> History:
    """The history of the deployment, which is written unless it is there already."""
    note, url = folder / "ends", superuser_url(gateway)
    if note.exists():
        return History(datetime.datetime.fromisoformat(note.read_text()))
    began_s = time.monotonic()
    history = History(datetime.datetime.now(datetime.UTC).replace(microsecond=0))
    history.write(url)
    _shop(gateway)
    with psycopg.connect(url) as connection:
        Visitor.of(gateway).register(_CUSTOMER)
        connection.execute(
            "UPDATE console.people SET tenant_id = %s, tenant_made = true WHERE email = %s", (LARGE, _CUSTOMER)
        )
    note.write_text(history.ends.isoformat())
    print(f"filled in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    return history


def _shop(gateway: Deployment) -> None:
    """Vouchers and a brand, made the usual way."""
    gateway.auth.PutBrand(
        auth_pb2.PutBrandRequest(brand=auth_pb2.Brand(name=_BRAND, title="Bench", key_prefix="sk-b-"))
    )
    for _ in range(_BATCHES):
        gateway.billing.CreateVouchers(
            billing_pb2.CreateVouchersRequest(
                count=_VOUCHERS,
                amount_nano=5 * 10**9,
                funding=billing_pb2.VOUCHER_FUNDING_GIFT,
                batch_id=f"batch-{ids.ulid()}",
                reason="bench",
                actor="bench",
            )
        )


def places(url: str) -> Places:
    """What questions name, from the database."""
    with psycopg.connect(url) as connection:

        def one(query: str) -> list[str]:
            found = connection.execute(query.encode(), {"large": LARGE}).fetchone()
            assert found is not None, query
            return [str(value) for value in found]

        of_large = "SELECT request_id, model FROM ledger.usage_records WHERE tenant_id = %(large)s AND status = 1"
        request_id, model = one(f"{of_large} ORDER BY created_at DESC, request_id DESC LIMIT 1 OFFSET 1000")
        deep, _ = one(f"{of_large} ORDER BY created_at DESC, request_id DESC LIMIT 1 OFFSET 200000")
        (transaction,) = one("SELECT max(transaction_id) / 3 FROM ledger.transactions")
        account_id, account = one(
            "SELECT upstream_account_id, name FROM router.upstream_accounts ORDER BY name LIMIT 1"
        )
        (batch,) = one("SELECT batch_id FROM ledger.voucher_batches LIMIT 1")
        (person,) = one("SELECT person_id FROM console.people ORDER BY created_at LIMIT 1 OFFSET 100")
    return Places(request_id, deep, int(transaction), account_id, account, model, batch, _BRAND, person)


def callers(gateway: Deployment) -> dict[Who, httpx2.Client]:
    """Everybody who asks."""
    customer, staff = Visitor.of(gateway), operator(gateway)
    customer.sign_in(_CUSTOMER, PASSWORD)
    tokens = {
        Who.PROGRAM: token_of(customer, "keys:read", "account:read"),
        Who.OPERATORS_PROGRAM: token_of(staff, "admin:read"),
    }
    programs = {
        who: httpx2.Client(base_url=gateway.console_url, headers={"authorization": f"Bearer {token}"}, timeout=30)
        for who, token in tokens.items()
    }
    anybody = Visitor.of(gateway).client
    return {Who.ANYBODY: anybody, Who.CUSTOMER: customer.client, Who.OPERATOR: staff.client, **programs}


def asked(clients: dict[Who, httpx2.Client], asking: Sequence[Question], times: int) -> list[Timed]:
    """Every question in turn, and all of them again. The first round, which finds every cache cold, counts too."""
    timed = [Timed(question) for question in asking]
    for _, each in itertools.product(range(times), timed):
        each.ask(clients[each.question.who])
    return timed


def export(gateway: Deployment, client: httpx2.Client) -> list[Figure]:
    """All requests of the large tenant as CSV: how long it takes, and what console and ledger need for it."""
    pids = {part: gateway.pids(part)[0] for part in ("console", "ledger")}
    before = {part: processes.resident_mib([pid]) for part, pid in pids.items()}
    for pid in pids.values():
        processes.forget_peak(pid)
    began_s, lines = time.monotonic(), 0
    with client.stream("GET", f"{USAGE}.csv?range=90d") as response:
        for piece in response.iter_raw():
            lines += piece.count(b"\n")
    rows = lines - 1
    each = "requests exported a second"
    found = [
        Figure("exported", f"export of {rows:,} requests as CSV", "s", time.monotonic() - began_s, _COMMAND),
        Figure("exported_a_second", each, "requests", rows / (time.monotonic() - began_s), _COMMAND),
    ]
    for part, pid in pids.items():
        grown = max(0.0, processes.peak_mib(pid) - before[part])
        found.append(Figure(f"export_{part}", f"{part}, memory that the export took at most", "MiB", grown, _COMMAND))
    return found


def table(timed: Sequence[Timed]) -> Iterator[str]:
    """Markdown: each address, slowest first."""
    yield "| who | address | p50, ms | max, ms | KiB |"
    yield "|---|---|---|---|---|"
    for each in sorted(timed, key=lambda each: -each.p50_ms):
        path = each.question.path + (" (first piece)" if each.question.streamed else "")
        took = f"{each.p50_ms:.0f} | {max(each.took_ms):.0f}"
        yield f"| {each.question.who.value} | `{path}` | {took} | {figures.shown(each.kib)} |"


def slowest(timed: Sequence[Timed]) -> list[Figure]:
    """The slowest median of everybody."""
    found = []
    for who in Who:
        p50_ms = max(each.p50_ms for each in timed if each.question.who is who)
        name = f"slowest page of {len(timed)}, {who.value}, p50"
        found.append(Figure(f"console_{who.name.lower()}", name, "ms", p50_ms, _COMMAND))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--state", type=Path, help="keep the filled deployment here")
    parser.add_argument("--write", action="store_true", help="put the table into docs/BENCHMARKS.md")
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder: Path = options.state or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        with deployed(folder / "state", TOLLHOUSE_CONSOLE_API_CALLS_PER_MINUTE="1000000") as gateway:
            history = filled(gateway, folder)
            print(gateway.command("ledger", "verify"))
            clients = callers(gateway)
            timed = asked(clients, questions(history, places(superuser_url(gateway))), options.times)
            found = slowest(timed) + export(gateway, clients[Who.CUSTOMER])
    lines = list(table(timed))
    print("\n".join(lines))
    figures.tell(found, options.out)
    if options.write:
        page = report.PAGE.read_text(encoding="utf-8")
        report.PAGE.write_text(report.with_section(page, lines, BEGIN, END), encoding="utf-8")
    faulty = [each for each in timed if each.fault]
    for each in faulty:
        print(f"{each.question.path} {each.fault}", file=sys.stderr)
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
