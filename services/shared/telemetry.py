"""Logs: one JSON object a line on standard error, with a constant event name and fields; never bodies or secrets."""

import asyncio
import logging
import sys
from typing import Any, Final

import msgspec
import structlog

from services.shared import clock

_FLUSH_S: Final = 0.1

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _render(_logger: Any, _method: str, record: structlog.typing.EventDict) -> bytes:
    return _encode(record)


def configure(service: str) -> None:
    """Sends the logs of this process, those of libraries included (warnings and worse), to standard error as JSON."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*processors, _render],
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda logger, method, record: _render(logger, method, record).decode(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class RecordLog:
    """Records of one kind, written many at a time: a record costs about a microsecond and reaches the log within
    `_FLUSH_S`. For what happens thousands of times a second; everything else goes through `logger`."""

    def __init__(self, event: str, service: str) -> None:
        self._head = {"event": event, "level": "info", "service": service}
        self._lines: list[bytes] = []
        self._flushing: asyncio.TimerHandle | None = None

    def add(self, **fields: object) -> None:
        """Logs one record; the time is now."""
        self._lines.append(_encode({"timestamp": clock.now_iso(), **self._head, **fields}))
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Writes what is there."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        lines, self._lines = self._lines, []
        if lines:
            sys.stderr.buffer.write(b"\n".join(lines) + b"\n")
            sys.stderr.buffer.flush()


def logger(name: str) -> Any:
    """A structured logger: `logger("relay").info("request_ended", status=200)`."""
    return structlog.get_logger(part=name)
