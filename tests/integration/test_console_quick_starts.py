"""Quick starts and the playground: what the pages give is run as it stands."""

import html
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from services.console import quick_starts
from tests.customers import customer_with_credit, make_key
from tests.deployment import MODEL, Deployment, request
from tests.visitors import Visitor

START = "/dashboard/quick-start"
NODE = str(Path(sys.executable).parent / "node")


@pytest.fixture(scope="module")
def visitor(tollhouse: Deployment) -> Visitor:
    return customer_with_credit(tollhouse)


@pytest.fixture(scope="module")
def secret(visitor: Visitor) -> str:
    return make_key(visitor)[1]


def snippets(visitor: Visitor, tool: str, secret: str) -> dict[str, str]:
    """What the page of a tool lets one copy, by title, with the key filled in."""
    page = visitor.get(START, params={"tool": tool, "model": MODEL})
    assert page.status_code == 200
    found = re.findall(r'<div class="code-head"><span>(.*?)</span>.*?<code>(.*?)</code></pre>', page.text, re.DOTALL)
    return {html.unescape(title): html.unescape(text).replace("sk-th-YOUR_KEY", secret) for title, text in found}


def run(command: list[str], text: str, tmp_path: Path, suffix: str, **environment: str) -> str:
    path = tmp_path / f"snippet{suffix}"
    path.write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, env=kept | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("title", ["Anthropic Messages", "OpenAI Chat Completions"])
def test_curl_answers(visitor: Visitor, secret: str, tmp_path: Path, title: str) -> None:
    said = msgspec.json.decode(run(["bash"], snippets(visitor, "curl", secret)[title], tmp_path, ".sh"))
    assert said["model"] == MODEL
    assert said.get("content") or said.get("choices")


@pytest.mark.parametrize("title", ["pip install anthropic", "pip install openai", "The same, streamed"])
def test_the_sdks_of_python_answer(visitor: Visitor, secret: str, tmp_path: Path, title: str) -> None:
    assert "tok0" in run([sys.executable], snippets(visitor, "python", secret)[title], tmp_path, ".py")


def test_node_answers_without_an_sdk(visitor: Visitor, secret: str, tmp_path: Path) -> None:
    assert "tok0" in run([NODE], snippets(visitor, "node", secret)["Without an SDK, streamed"], tmp_path, ".mjs")


@pytest.mark.parametrize("title", ["npm install @anthropic-ai/sdk", "npm install openai"])
def test_what_uses_nodes_sdks_is_well_formed(visitor: Visitor, secret: str, tmp_path: Path, title: str) -> None:
    run([NODE, "--check"], snippets(visitor, "node", secret)[title], tmp_path, ".mjs")


@pytest.mark.parametrize("title", ["OpenAI SDKs", "Anthropic SDKs"])
def test_the_sdks_read_the_variables_that_are_named(visitor: Visitor, secret: str, tmp_path: Path, title: str) -> None:
    said = "[{'role': 'user', 'content': 'x'}]"
    call = {
        "OpenAI SDKs": f"from openai import OpenAI; print(OpenAI().chat.completions.create(messages={said}, ",
        "Anthropic SDKs": f"from anthropic import Anthropic; print(Anthropic().messages.create(messages={said}, ",
    }[title]
    program = f"{call} model={MODEL!r}, max_tokens=9))"
    script = f'{snippets(visitor, "openai", secret)[title]}\n"{sys.executable}" -c "{program}"\n'
    assert "tok0" in run(["bash"], script, tmp_path, ".sh")


def test_claude_code_is_told_where_to_ask_and_with_what(
    visitor: Visitor, secret: str, tmp_path: Path, tollhouse: Deployment
) -> None:
    given = snippets(visitor, "claude-code", secret)
    settings = msgspec.json.decode(given["~/.claude/settings.json"])["env"]
    shell = given["Shell"].replace("\nclaude", "\nenv | grep ^ANTHROPIC_ | sort")
    assert run(["bash"], shell, tmp_path, ".sh").split() == sorted(
        f"{name}={value}" for name, value in settings.items()
    )
    answer = request(
        settings["ANTHROPIC_BASE_URL"],
        "POST",
        "/v1/messages?beta=true",
        {"authorization": f"Bearer {settings['ANTHROPIC_AUTH_TOKEN']}", "content-type": "application/json"},
        msgspec.json.encode(
            {"model": settings["ANTHROPIC_MODEL"], "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        ),
    )
    assert answer.status == 200


def test_codex_finds_its_provider_and_its_key(visitor: Visitor, secret: str, tmp_path: Path) -> None:
    given = snippets(visitor, "codex", secret)
    config = tomllib.loads(given["~/.codex/config.toml"])
    provider = config["model_providers"][config["model_provider"]]
    shell = given["Shell"].replace("\ncodex", f'\necho "${provider["env_key"]}"')
    assert run(["bash"], shell, tmp_path, ".sh").strip() == secret
    answer = request(
        provider["base_url"].removesuffix("/v1"),
        "POST",
        f"/v1/{provider['wire_api']}",
        {"authorization": f"Bearer {secret}", "content-type": "application/json"},
        msgspec.json.encode({"model": config["model"], "input": "x"}),
    )
    assert answer.status == 200, answer.body


def test_cursor_is_given_a_url_and_a_key(visitor: Visitor, secret: str, tollhouse: Deployment) -> None:
    assert snippets(visitor, "cursor", secret) == {
        "OpenAI API key": secret,
        "Override OpenAI base URL": f"{tollhouse.base_url}/v1",
    }


def test_every_tool_has_its_page_and_every_snippet_can_be_copied(visitor: Visitor) -> None:
    for tool in quick_starts.TOOLS:
        page = visitor.get(START, params={"tool": tool.name})
        assert page.status_code == 200
        assert page.text.count("data-copy=") == len(tool.snippets) + 1  # and the base URL


# ---- the playground ----


def test_the_playground_may_talk_to_the_api_and_no_other_page_may(visitor: Visitor, tollhouse: Deployment) -> None:
    policy = visitor.get("/dashboard/playground").headers["content-security-policy"]
    assert f"connect-src 'self' {tollhouse.base_url};" in policy
    assert "connect-src 'self';" in visitor.get("/dashboard").headers["content-security-policy"]


def test_the_edge_answers_the_playground_in_a_browser(tollhouse: Deployment, secret: str) -> None:
    headers = {"origin": tollhouse.console_url, "x-api-key": secret, "content-type": "application/json"}
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key,content-type"}
    preflight = tollhouse.call("OPTIONS", "/v1/messages", {"origin": tollhouse.console_url, **asked})
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    body = msgspec.json.encode({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]})
    answer = tollhouse.call("POST", "/v1/messages", headers, body)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    refused = tollhouse.call("POST", "/v1/messages", headers | {"x-api-key": "sk-th-wrong"}, body)
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == "*"
