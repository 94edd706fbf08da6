"""The state folder: its lock, its secrets, and run.json, which tells other commands what runs and where."""

import base64
import contextlib
import fcntl
import os
import secrets as random_secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

_LOCK_RETRIES: Final = 6
_LOCK_RETRY_S: Final = 0.05


class Held(Exception):
    """Another process holds the state folder. `pid` is 0 when it did not say."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"held by process {pid}")
        self.pid = pid


class NotRunning(FileNotFoundError):
    """Nothing runs on this state folder: there is no run.json that is true."""


class StateFolder:
    """Where everything of one installation is kept: mode 0700, every secret in it 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.lock = self.path / "lock"
        self.run = self.path / "run.json"
        self.log = self.path / "log"
        self.secrets = self.path / "secrets.json"
        self.master_key = self.path / "master.key"
        self.receipt_key = self.path / "receipt.key"
        self.journals = self.path / "journal"
        self.usage_token = self.path / "usage.token"
        self.operator = self.path / "operator.json"
        self.demo_key = self.path / "demo.key"
        self.seeded = self.path / "seeded"
        self.postgres = self.path / "postgres"
        self.nats = self.path / "nats"
        self.tls = self.path / "tls"
        self.nats_config = self.path / "nats.conf"
        self.nats_nodes = self.path / "nats.nodes"

    def create(self) -> None:
        """Makes the folder. One that exists and holds something else keeps its mode: only its new files are ours."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.lock.exists() or not any(self.path.iterdir()):
            self.path.chmod(0o700)
        for folder in (self.log, self.nats):
            folder.mkdir(mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder for this process; the kernel lets go of it when the process ends. Raises Held."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(descriptor)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        for attempt in range(_LOCK_RETRIES):  # `holder` of some other command may look at the lock just now
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if attempt + 1 < _LOCK_RETRIES:
                    time.sleep(_LOCK_RETRY_S)
        raise Held(_number(self.lock))

    def holder(self) -> int | None:
        """The process that holds the folder, None when nobody does."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _number(self.lock)
        finally:
            os.close(descriptor)
        return None


class Secrets(msgspec.Struct, frozen=True):
    """What is made once for an installation and stays. Without a repr that could end up in a log."""

    postgres: str = msgspec.field(default_factory=lambda: random_secrets.token_hex(24))
    auth: str = msgspec.field(default_factory=lambda: random_secrets.token_hex(24))
    router: str = msgspec.field(default_factory=lambda: random_secrets.token_hex(24))
    ledger: str = msgspec.field(default_factory=lambda: random_secrets.token_hex(24))
    console: str = msgspec.field(default_factory=lambda: random_secrets.token_hex(24))
    console_key: str = msgspec.field(default_factory=lambda: base64.b64encode(random_secrets.token_bytes(32)).decode())
    nats: str = msgspec.field(default_factory=lambda: random_secrets.token_hex(24))
    key_pepper: str = msgspec.field(default_factory=lambda: random_secrets.token_hex(32))
    ledger_token: str = msgspec.field(default_factory=lambda: f"thst_{random_secrets.token_hex(32)}")
    simulator: str = msgspec.field(default_factory=lambda: f"sim-{random_secrets.token_hex(16)}")

    def __repr__(self) -> str:
        return "Secrets(***)"

    @classmethod
    def load(cls, folder: StateFolder) -> Self:
        """Those of this folder; makes what is missing."""
        try:
            stored = folder.secrets.read_bytes()
        except FileNotFoundError:
            stored = b"{}"
        loaded = msgspec.json.decode(stored, type=cls)
        complete = msgspec.json.encode(loaded)
        if complete != stored:
            write_private(folder.secrets, complete)
        return loaded


def master_key(folder: StateFolder) -> str:
    """Base64 of the 32 bytes that upstream credentials are sealed under, made on first use."""
    return _random_key(folder.master_key)


def receipt_key(folder: StateFolder) -> str:
    """Base64 of the 32 bytes of the Ed25519 key that signs receipts, made on first use, or the PEM put there."""
    return _random_key(folder.receipt_key)


class ProcessState(msgspec.Struct, frozen=True):
    """One supervised process. `pid` is None between its death and its restart."""

    name: str
    part: str
    pid: int | None
    restarts: int
    address: str
    health_url: str
    ops_url: str = ""
    """Of the operations port: /healthz, /readyz and /metrics; empty for what has none."""


class Operator(msgspec.Struct, frozen=True):
    """Who may sign in to the console first. Without a repr that could end up in a log."""

    email: str
    password: str

    def __repr__(self) -> str:
        return "Operator(***)"


class RunState(msgspec.Struct, frozen=True):
    """What `up` runs now, as it is in run.json; what `ready_line` names is the ready line."""

    base_url: str
    api_key: str
    simulator_url: str
    usage_grpc: str
    usage_token: str
    console_url: str
    operator_email: str
    operator_password: str
    """Empty when it was changed since."""
    pids: dict[str, list[int]]
    supervisor: int
    ready: bool
    addresses: dict[str, str]
    """By part; those of auth, router and ledger are host:port of their gRPC. Without passwords."""
    processes: list[ProcessState]
    tls: bool = False
    """Whether services speak TLS to each other; the certificates are in the state folder."""

    def every_address(self, part: str) -> str:
        """host:port of each replica of auth, router or ledger, between commas."""
        return ",".join(process.address for process in self.processes if process.part == part)

    def ready_line(self) -> str:
        """The line that `up --json` prints."""
        fields = (
            *("base_url", "api_key", "simulator_url", "usage_grpc", "usage_token"),
            *("console_url", "operator_email", "operator_password", "pids"),
        )
        return msgspec.json.encode({name: getattr(self, name) for name in fields}).decode()

    def write(self, folder: StateFolder) -> None:
        """Replaces run.json at once: a reader sees the old or the new, never half."""
        write_private(folder.run, msgspec.json.encode(self), durable=False)

    @classmethod
    def read(cls, state_dir: Path) -> Self:
        """What runs on this folder. Raises NotRunning."""
        folder = StateFolder(state_dir)
        if folder.holder() is None:
            raise NotRunning(f"Tollhouse is not running on {folder.path}; start it with `tollhouse up`")
        try:
            return msgspec.json.decode(folder.run.read_bytes(), type=cls)
        except FileNotFoundError:
            raise NotRunning(f"Tollhouse is just starting on {folder.path}") from None


def write_private(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a file of mode 0600 and puts it in place at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(descriptor)
    draft.replace(path)


def _random_key(path: Path) -> str:
    if not path.exists():
        write_private(path, base64.b64encode(random_secrets.token_bytes(32)) + b"\n")
    return path.read_text(encoding="ascii").strip()


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
