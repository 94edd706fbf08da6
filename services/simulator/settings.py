"""Settings of the simulator."""

from dataclasses import dataclass

from services.shared.settings import setting


@dataclass(frozen=True)
class SimulatorSettings:
    """Read from TOLLHOUSE_SIMULATOR_*."""

    host: str = setting("address to listen on", default="127.0.0.1")
    port: int = setting("port to listen on", default=7010, at_least=1, at_most=65535)
    first_ms: float = setting("milliseconds before the first byte, unless scripted", default=25, at_least=0)
    gap_ms: float = setting("milliseconds between two events of a stream, unless scripted", default=5, at_least=0)
    remember: int = setting("latest requests that it can tell of one by one", default=1000, at_least=1)
    body_max_bytes: int = setting("bytes of a request body, at most", default=64 * 1024 * 1024, at_least=1024)
