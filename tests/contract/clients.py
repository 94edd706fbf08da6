"""What every brand promises of clients of other generations and languages: they run as programs of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.contract import shapes
from tests.contract.house import EMBEDDING, House
from tests.deployment import MODEL, ROOT

NODE = Path(sys.executable).parent / "node"
DRIVERS = ROOT / "tests" / "node"
OLDER_SDK = ROOT / ".venv" / "sdk1"
OLDER_CLIENT = Path(__file__).with_name("older_client.py")


class Clients:
    """Inherited by each brand's tests."""

    def test_the_older_generation_of_anthropics_sdk_is_served_alike(self, house: House, key: str) -> None:
        assert OLDER_SDK.is_dir(), "`make install` puts the older SDK there"
        command = [sys.executable, str(OLDER_CLIENT), house.tollhouse.base_url, house.host, key, MODEL]
        seen = printed(command, PYTHONPATH=str(OLDER_SDK))
        assert seen["version"].startswith("1.17.")
        self.spoke_anthropics_api(house, key, seen)

    def test_anthropics_node_sdk_is_served_alike(self, house: House, key: str) -> None:
        self.spoke_anthropics_api(house, key, driven("messages.mjs", house.url, key, MODEL))

    def test_openais_node_sdk_is_served_alike(self, house: House, key: str) -> None:
        seen = driven("responses.mjs", house.url, key, MODEL, EMBEDDING)
        assert shapes.completion(seen["completed"]).choices[0].message.content == seen["final_text"]
        assert shapes.chunks(seen["chunks"])
        assert shapes.response(seen["responded"]).output_text == seen["final_response_text"]
        assert shapes.response_events(seen["events"])
        assert seen["dimensions"] > 1
        assert MODEL in seen["models"]
        assert house.call("GET", f"/v1/usage/{seen['request_id']}", key).json()["status"] == "ok"
        promised = house.promised.refused("openai", "key")
        expected = {"status": promised.status, "type": promised.type, "code": promised.code}
        assert seen["refused"] == expected | {"name": "AuthenticationError"}

    @staticmethod
    def spoke_anthropics_api(house: House, key: str, seen: dict[str, Any]) -> None:
        """What a client of Anthropic's API saw has its shapes and the brand's words."""
        assert shapes.message(seen["plain"]).content[0].text == seen["final_text"]  # type: ignore[union-attr]
        assert shapes.message_events(seen["streamed"])
        assert shapes.count(seen["counted"]).input_tokens > 0
        assert MODEL in seen["models"]
        assert house.call("GET", f"/v1/usage/{seen['request_id']}", key).json()["status"] == "ok"
        refused, promised = seen["refused"], house.promised.refused("anthropic", "key")
        assert (refused["name"], refused["status"]) == ("AuthenticationError", promised.status)
        assert refused["body"]["error"]["type"] == promised.type


def driven(driver: str, *arguments: str) -> dict[str, Any]:
    """What a Node program of `tests/node` printed."""
    assert (DRIVERS / "node_modules").is_dir(), "`make install` puts the Node SDKs there"
    return printed([str(NODE), str(DRIVERS / driver), *arguments])


def printed(command: list[str], **environment: str) -> dict[str, Any]:
    """What a program printed, as JSON. It sees nothing of this environment, least of all keys and addresses."""
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())} | environment
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
