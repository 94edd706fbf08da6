"""What is measured: Tollhouse with a rich demo tenant, and what it is compared with."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.deployment import Deployment, deployed, eventually, free_port

HERE = Path(__file__).resolve().parent
MODEL = "claude-sonnet-4-5-20250929"
DEMO = "demo"
SERVICES = ("auth", "router", "ledger", "nats", "postgres")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
_DOLLARS = 1_000_000
_NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream mock {{ server {mock}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 64m; client_body_buffer_size 1m;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@contextlib.contextmanager
def tollhouse(folder: Path, *options: str, upstream: str = "", **settings: str) -> Iterator[Deployment]:
    """`tollhouse up`, its demo tenant rich, and its model served by `upstream` where one is named, else by the
    simulator; `settings` are environment variables."""
    with deployed(folder / "state", *options, **settings) as deployment:
        deployment.top_up(DEMO, _DOLLARS)
        if upstream:
            deployment.account("bench", upstream, {MODEL: MODEL}, priority=1)
            key = {"x-api-key": deployment.key}
            known = f"/v1/models/{MODEL}"
            eventually(lambda: deployment.call("GET", known, key).status == 200, what="the edge knows the model")
        yield deployment


@contextlib.contextmanager
def nginx(folder: Path, mock: str) -> Iterator[tuple[int, str]]:
    """A plain reverse proxy in front of the mock; its pid and URL."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, mock=urlsplit(mock).netloc))
    process = subprocess.Popen(["nginx", "-c", config], stderr=subprocess.DEVNULL, env=os.environ | {"PATH": PATH})
    with _ended(process):
        eventually(lambda: _listens(port), what="nginx listens")
        yield process.pid, f"http://127.0.0.1:{port}"


def nginx_is_installed() -> bool:
    """Whether there is an nginx to compare with."""
    return shutil.which("nginx", path=PATH) is not None


@contextlib.contextmanager
def bare(mock: str) -> Iterator[tuple[int, str]]:
    """The bare relay in front of the mock; its pid and URL."""
    port = free_port()
    command = [sys.executable, str(HERE / "bare.py"), "--upstream", mock, "--port", str(port)]
    process = subprocess.Popen(command)
    with _ended(process):
        eventually(lambda: _listens(port), what="the bare relay listens")
        yield process.pid, f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
