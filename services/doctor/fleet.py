"""The processes: whether they answer, what they say of themselves, what waits to be booked, and what has no price."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.doctor.finding import Finding, fault, ok, warning
from services.embedded.health import healthy
from services.shared import clock
from services.shared.tls import Tls
from tollhouse.v1 import billing_pb2, ledger_pb2, router_pb2

SERVICES: Final = ("edge", "auth", "router", "ledger")
_SILENT_MS: Final = 5000


class Calls(Protocol):
    """What is asked of the services. Each raises grpc.RpcError."""

    def replicas(self) -> Sequence[ledger_pb2.Replica]:
        """Who announces itself."""
        ...

    def dead_letters(self) -> int:
        """How many there are, at most a thousand."""
        ...

    def prices(self) -> Sequence[billing_pb2.Price]:
        """The price book."""
        ...

    def routes(self) -> router_pb2.GetRoutesResponse:
        """What is served."""
        ...


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its name, its health URL, and of what part it is."""

    name: str
    health_url: str = field(repr=False)
    part: str = ""


def reach(processes: Sequence[Process], tls: Tls | None) -> Iterator[Finding]:
    """Asks each process for its health; with `tls` those that speak gRPC over TLS."""

    async def ask() -> list[bool]:
        return await asyncio.gather(*(healthy(process.health_url, tls, process.part) for process in processes))

    for process, answers in zip(processes, asyncio.run(ask()), strict=True):
        if answers:
            yield ok(process.name, "is ready")
        else:
            place = process.health_url.rpartition("@")[2]  # without a password
            yield fault(process.name, f"is not ready at {place}", "See whether it runs, and the end of its log")


def replicas(calls: Calls) -> Iterator[Finding]:
    """Who is there, and what they say."""
    heard = calls.replicas()
    for service in SERVICES:
        here = [replica for replica in heard if replica.service == service]
        silent = [replica.name for replica in here if replica.silent_ms > _SILENT_MS and not replica.leaving]
        working = [replica.name for replica in here if replica.silent_ms <= _SILENT_MS and not replica.leaving]
        if not working:
            yield fault(service, "no replica says that it is there", f"Start `tollhouse {service}`, or look at NATS")
        elif silent:
            yield warning(
                service, f"silent: {', '.join(silent)}", "If it was not stopped: see whether it runs and reaches NATS"
            )
        else:
            yield ok(service, f"{len(working)} there: {', '.join(working)}")


def booking(calls: Calls, lag_max_s: float) -> Iterator[Finding]:
    """Whether usage is booked as it comes."""
    figures = [dict(replica.figures) for replica in calls.replicas() if replica.service == "ledger"]
    lag_ms = max((said.get("lag_ms", 0.0) for said in figures), default=0.0)
    waiting = max((said.get("unbooked", 0.0) for said in figures), default=0.0)
    if lag_ms > lag_max_s * clock.MS_PER_S:
        yield fault(
            "booking",
            f"{waiting:.0f} messages wait, the oldest for {lag_ms / clock.MS_PER_S:.0f} s",
            "See the ledgers' logs for booking_paused, and whether Postgres keeps up; add a ledger",
        )
    else:
        yield ok("booking", f"{waiting:.0f} messages wait")
    if dead := calls.dead_letters():
        yield fault(
            "dead letters",
            f"{dead} usage messages could not be booked",
            "`tollhouse dead list` says why; mend that, then `tollhouse dead replay`",
        )
    else:
        yield ok("dead letters", "none")


def prices(calls: Calls) -> Iterator[Finding]:
    """Whether everything that is served can be called."""
    now_ms = clock.now_ms()
    priced = {price.model for price in calls.prices() if price.effective_ms <= now_ms}
    served = {model for pool in calls.routes().pools for model in pool.models}
    if not served:
        yield warning("models", "none is served", "Add an upstream account: `tollhouse account add`")
    elif missing := sorted(served - priced):
        yield fault(
            "prices",
            f"served, but without a price in force: {', '.join(missing)}",
            "Such models are refused: `tollhouse price apply -f FILE`, or take them from the upstream accounts",
        )
    else:
        yield ok("prices", f"every one of {len(served)} served models has one")
