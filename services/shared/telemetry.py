"""Logs: one JSON object a line on standard error, with a constant event name and fields; never bodies or secrets."""

import logging
import sys
from typing import Any

import msgspec
import structlog

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


def logger(name: str) -> Any:
    """A structured logger: `logger("relay").info("request_ended", status=200)`."""
    return structlog.get_logger(part=name)
