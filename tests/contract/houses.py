"""The four example brands in a running deployment, under names and hosts of one test module's own."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tests.deployment import COMMAND, ROOT, Deployment, eventually

EXAMPLES = ("buzz", "cc", "haze", "cheap")


@dataclass(frozen=True)
class House:
    """A brand, seen from outside."""

    base_url: str
    name: str
    host: str

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None) -> httpx2.Response:
        """One request to this host; no header but those that are given and what HTTP needs."""
        address = urlsplit(self.base_url)
        with httpx2.Client(timeout=30) as client:
            client.headers.clear()
            said = {"host": self.host, **(headers or {})}
            url = f"{address.scheme}://{address.netloc}{path}"
            return client.request(method, url, headers=said, content=body)


def applied(tollhouse: Deployment, folder: Path) -> dict[str, House]:
    """Applies the examples by the operator's command, and waits until the edge speaks as they do."""
    houses = {}
    for example in EXAMPLES:
        name = f"{example}-{folder.name}".replace("_", "-").lower()
        text = (ROOT / "examples" / "brands" / f"{example}.toml").read_text()
        file = folder / f"{example}.toml"
        file.write_text(
            text.replace(f'name = "{example}"', f'name = "{name}"').replace(
                f"{example}.example.com", f"{name}.example.com"
            )
        )
        command = [COMMAND, "brand", "apply", "-f", str(file), "--state-dir", str(tollhouse.state_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        houses[example] = House(tollhouse.base_url, name, f"{name}.example.com")
    eventually(lambda: houses["buzz"].ask("GET", "/v1/models").json()["error"]["type"] == "buzz_error", what="brands")
    eventually(lambda: "x-cc-request-id" in houses["cc"].ask("GET", "/").headers, what="brands")
    return houses
