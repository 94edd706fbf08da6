"""The service processes: their settings, and which of the operator's variables reach which of them."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import services
from services.embedded import authority
from services.embedded.health import with_credentials
from services.embedded.process import Program
from services.embedded.state import Secrets
from services.migrate import role
from services.shared.permissions import Peer
from services.shared.settings import PREFIX, variable
from services.shared.tls import Tls

_EDGE_DRAIN_S: Final = 30.0
_EDGE_NOTICE_S: Final = 0.5
"""No load balancer has to notice anything: the kernel gives connections to the edges that listen."""
_EDGE_FLUSH_S: Final = 16.0
"""After its drain an edge publishes what usage is left; ending it before that would lose records (invariant I1)."""
_PRIVATE_UPSTREAMS: Final = {part: {variable(part, "private_upstreams"): "true"} for part in ("edge", "router")}
"""The simulator is on this machine. Whoever sets these otherwise is obeyed."""
_CONSOLE_STOP_S: Final = 20.0
_LOOPBACK: Final = "127.0.0.1"
_STREAM_REPLICAS: Final = 3
"""With more, every message costs more and survives no more than the loss of two servers at once."""
_ROOT: Final = str(Path(services.__file__).resolve().parent.parent)


@dataclass(frozen=True)
class Ports:
    """Where everything listens; one ops port for each edge."""

    public: int
    auth: int
    router: int
    ledger: int
    simulator: int
    postgres: int
    nats: int
    console: int
    console_ops: int
    ops: tuple[int, ...]
    more_auths: tuple[int, ...] = ()
    """Of further replicas of auth."""
    more_routers: tuple[int, ...] = ()
    """Of further replicas of the router."""
    service_ops: Mapping[str, int] = field(default_factory=dict)
    """The ops port of each replica of auth, router and ledger, by its name."""
    more_ledgers: tuple[int, ...] = ()
    """Of further replicas of the ledger."""
    more_nats: tuple[int, ...] = ()
    """Where clients reach further servers of NATS."""
    nats_routes: tuple[int, ...] = ()
    """Where the servers of a NATS cluster reach each other, in the order of `nats` and `more_nats`; none for one
    server alone."""


@dataclass(frozen=True)
class Plan:
    """What the services have to know of each other."""

    host: str
    ports: Ports
    database_url: str = field(repr=False)
    nats_url: str = field(repr=False)
    secrets: Secrets
    master_key: str = field(repr=False)
    receipt_key: str = field(repr=False)
    journals: Path
    """Where each edge has its journal, in a folder of its name."""
    tls: Path | None = None
    """The folder of certificates; None without TLS."""

    @property
    def stream_replicas(self) -> int:
        """How many servers of our own NATS keep each message."""
        return min(_STREAM_REPLICAS, 1 + len(self.ports.more_nats))

    def address(self, service: str) -> str:
        """host:port of the gRPC of a service's first replica."""
        return f"{_LOOPBACK}:{getattr(self.ports, service)}"

    def operator_tls(self) -> Tls | None:
        """What `up` itself asks services by; None without TLS."""
        return authority.operator(self.tls) if self.tls else None

    def every_address(self, service: str) -> str:
        """host:port of the gRPC of each of a service's replicas, between commas."""
        return ",".join(f"{_LOOPBACK}:{port}" for port in self.replica_ports(service).values())

    def replica_ports(self, service: str) -> dict[str, int]:
        """The gRPC port of each replica of auth, the router or the ledger, by the replica's name."""
        every = (getattr(self.ports, service), *getattr(self.ports, f"more_{service}s"))
        return dict(zip(replica_names(service, len(every)), every, strict=True))


def replica_names(service: str, count: int) -> list[str]:
    """What the replicas of a service are called."""
    return [service, *(f"{service}-{number}" for number in range(1, count))]


def service_programs(plan: Plan, environment: Mapping[str, str], tls: Tls | None = None) -> dict[str, Program]:
    """auth, auth-1 and so on, the same of router and ledger, simulator, console, and edge-0 and so on, by name.
    `tls` is what the health of those that speak gRPC is asked by."""
    made = [
        _grpc_service(plan, service, environment, name, port, tls)
        for service in ("auth", "router", "ledger")
        for name, port in plan.replica_ports(service).items()
    ]
    made.append(_simulator(plan, environment))
    made.append(_console(plan, environment))
    made += [_edge(plan, number, environment) for number in range(len(plan.ports.ops))]
    return {program.name: program for program in made}


def child_environment(service: str, settings: Mapping[str, object], environment: Mapping[str, str]) -> dict[str, str]:
    """The operator's variables without the settings of other services, and then ours."""
    own = {variable(service, name): str(value) for name, value in settings.items()}
    prefix = variable(service, "")
    kept = {
        name: value
        for name, value in environment.items()
        if (not name.startswith(f"{PREFIX}_") or name.startswith(prefix)) and name.removesuffix("_FILE") not in own
    }
    return kept | own | python_path(environment)


def python_path(environment: Mapping[str, str]) -> dict[str, str]:
    """With this, `python -P -m services` is this very package, whatever folder it is started in."""
    return {"PYTHONPATH": ":".join(filter(None, (_ROOT, environment.get("PYTHONPATH", ""))))}


def service_command(service: str) -> tuple[str, ...]:
    """The command line of one of our own programs."""
    return (sys.executable, "-P", "-m", "services", service)


def base_url(host: str, port: int) -> str:
    """The public address as a client on this machine calls it."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104
        host = _LOOPBACK
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tls_settings(plan: Plan, service: str) -> dict[str, object]:
    """Without TLS they are empty, whatever the operator's variables say: one service alone cannot have it."""
    files = authority.files(plan.tls or Path(), Peer(service))
    return {name: path if plan.tls else "" for name, path in files.items()}


def _ops_url(port: int) -> str:
    return f"http://{_LOOPBACK}:{port}"


def _grpc_service(
    plan: Plan, service: str, environment: Mapping[str, str], name: str, port: int, tls: Tls | None
) -> Program:
    ops_port = plan.ports.service_ops[name]
    settings: dict[str, object] = {
        "host": _LOOPBACK,
        "port": port,
        "ops_host": _LOOPBACK,
        "ops_port": ops_port,
        "database_url": with_credentials(plan.database_url, role(service), getattr(plan.secrets, service)),
        "nats_url": plan.nats_url,
        "replica": name,
        **_tls_settings(plan, service),
    }
    if service == "auth":
        settings |= {
            "ledger_address": plan.every_address("ledger"),
            "ledger_token": plan.secrets.ledger_token,
            "key_pepper": plan.secrets.key_pepper,
        }
    if service == "ledger":
        settings |= {"internal_token": plan.secrets.ledger_token, "receipt_key": plan.receipt_key}
        environment = {variable(service, "stream_replicas"): str(plan.stream_replicas), **environment}
    if service == "router":
        settings |= {"master_key": plan.master_key}
        usual = _PRIVATE_UPSTREAMS["router"] | {variable(service, "bucket_replicas"): str(plan.stream_replicas)}
        environment = usual | dict(environment)
    return Program(
        name=name,
        part=service,
        argv=service_command(service),
        environment=child_environment(service, settings, environment),
        address=f"{_LOOPBACK}:{port}",
        health_url=f"grpc://{_LOOPBACK}:{port}",
        ops_url=_ops_url(ops_port),
        tls=tls,
    )


def _simulator(plan: Plan, environment: Mapping[str, str]) -> Program:
    settings = {"host": _LOOPBACK, "port": plan.ports.simulator}
    return Program(
        name="simulator",
        part="simulator",
        argv=service_command("simulator"),
        environment=child_environment("simulator", settings, environment),
        address=plan.address("simulator"),
        health_url=f"http://{plan.address('simulator')}/",
    )


def _console(plan: Plan, environment: Mapping[str, str]) -> Program:
    settings: dict[str, object] = {
        "host": plan.host,
        "port": plan.ports.console,
        "ops_host": _LOOPBACK,
        "ops_port": plan.ports.console_ops,
        "database_url": with_credentials(plan.database_url, role("console"), plan.secrets.console),
        "master_key": plan.secrets.console_key,
        "auth_address": plan.every_address("auth"),
        "router_address": plan.every_address("router"),
        "ledger_address": plan.every_address("ledger"),
        "ledger_token": plan.secrets.ledger_token,
        **_tls_settings(plan, "console"),
    }
    usual = {
        variable("console", "api_url"): base_url(plan.host, plan.ports.public),
        variable("console", "key_plans"): "free,starter,pro",  # which come with the migrations, without a multiplier
    }
    environment = {**usual, **environment}
    return Program(
        name="console",
        part="console",
        argv=service_command("console"),
        environment=child_environment("console", settings, environment),
        address=base_url(plan.host, plan.ports.console),
        health_url=f"{_ops_url(plan.ports.console_ops)}/readyz",
        ops_url=_ops_url(plan.ports.console_ops),
        stop_within_s=_CONSOLE_STOP_S,
    )


def _edge(plan: Plan, number: int, environment: Mapping[str, str]) -> Program:
    settings = {
        "host": plan.host,
        "port": plan.ports.public,
        "ops_host": _LOOPBACK,
        "ops_port": plan.ports.ops[number],
        "ledger_address": plan.every_address("ledger"),
        "ledger_token": plan.secrets.ledger_token,
        "nats_url": plan.nats_url,
        "key_pepper": plan.secrets.key_pepper,
        "edge_id": f"edge-{number}",
        "journal_dir": plan.journals / f"edge-{number}",
        **_tls_settings(plan, "edge"),
    }
    drains = {variable("edge", "drain_notice_s"): str(_EDGE_NOTICE_S), variable("edge", "drain_s"): str(_EDGE_DRAIN_S)}
    environment = _PRIVATE_UPSTREAMS["edge"] | drains | dict(environment)
    try:
        drain_s = sum(float(environment[name]) for name in drains)
    except ValueError:
        drain_s = _EDGE_NOTICE_S + _EDGE_DRAIN_S  # the edge itself says what is wrong with it
    return Program(
        name=f"edge-{number}",
        part="edge",
        argv=service_command("edge"),
        environment=child_environment("edge", settings, environment),
        address=base_url(plan.host, plan.ports.public),
        health_url=f"{_ops_url(plan.ports.ops[number])}/readyz",
        ops_url=_ops_url(plan.ports.ops[number]),
        stop_within_s=drain_s + _EDGE_FLUSH_S,
    )
