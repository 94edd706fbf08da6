"""The operator's commands, each run for real."""

import subprocess
from pathlib import Path

from tests.deployment import COMMAND, MODEL, Deployment
from tests.visitors import Visitor
from tollhouse.v1 import usage_pb2


def run(tollhouse: Deployment, *arguments: str, fails: bool = False) -> str:
    """Runs a command; its standard output, or standard error when it is to fail."""
    command = [COMMAND, *arguments, "--state-dir", str(tollhouse.state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == (1 if fails else 0), done.stderr
    return (done.stderr if fails else done.stdout).strip()


def test_a_tenant_is_made_credited_and_given_a_key_that_works(tollhouse: Deployment) -> None:
    assert run(tollhouse, "tenant", "add", "acme", "--name", "Acme") == "acme"
    assert "Acme" in run(tollhouse, "tenant", "list")
    assert run(tollhouse, "topup", "acme", "2.50", "--idempotency-key", "k") == "credited; the balance is $2.50"
    assert run(tollhouse, "topup", "acme", "2.50", "--idempotency-key", "k") == "credited before; the balance is $2.50"
    key = run(tollhouse, "key", "add", "acme", "--name", "ci", "--days", "30")
    assert key.startswith("sk-th-")
    answer = tollhouse.messages(key, simulator="tokens=10;input_tokens=10")
    assert answer.status == 200
    request_id = answer.headers["x-request-id"]
    assert "$0.00018" in run(tollhouse, "usage", "get", request_id)
    assert request_id in run(tollhouse, "usage", "list", "acme")
    assert run(tollhouse, "usage", "balance", "acme").startswith("$2.49982")
    listed = run(tollhouse, "key", "list", "acme")
    assert key not in listed
    assert f"sk-th-...{key[-4:]}" in listed
    key_id = listed.splitlines()[1].split()[0]
    assert run(tollhouse, "key", "disable", key_id) == f"{key_id} is disabled"
    assert run(tollhouse, "key", "enable", key_id) == f"{key_id} is enabled"
    assert run(tollhouse, "key", "cap", key_id, "--dollars", "0.25") == f"{key_id} may spend $0.25"
    assert "$0.25" in run(tollhouse, "key", "list", "acme")
    assert run(tollhouse, "key", "cap", key_id, "--none") == f"{key_id} has no spend cap"
    assert run(tollhouse, "key", "delete", key_id) == f"{key_id} is deleted"
    run(tollhouse, "key", "add", "acme", "--name", "capped", "--spend-cap", "1.50")
    assert "$1.50" in run(tollhouse, "key", "list", "acme")
    assert run(tollhouse, "tenant", "disable", "acme") == "acme is disabled"
    assert run(tollhouse, "tenant", "enable", "acme") == "acme is enabled"


def test_an_upstream_account_is_added_listed_rested_and_deleted(tollhouse: Deployment, tmp_path: Path) -> None:
    credential = tmp_path / "key"
    credential.write_text("secret-credential\n")
    add = ("account", "add", "--kind", "anthropic", "--name", "second", "--key-file", str(credential))
    models = ("--models", f"cli-model={MODEL}", MODEL, "--base-url", tollhouse.simulator_url, "--priority", "200")
    assert run(tollhouse, *add, *models).endswith(f"serves {MODEL}, cli-model")
    listed = run(tollhouse, "account", "list")
    assert "second" in listed
    assert "secret-credential" not in listed
    assert run(tollhouse, "price", "set", "cli-model", "--input", "1", "--output", "2") > "cli-model: price version"
    prices = next(line for line in run(tollhouse, "price", "list").splitlines() if line.startswith("cli-model "))
    assert prices.split()[2:7] == ["$1.00", "$2.00", "$0.10", "$1.25", "$2.00"]
    assert tollhouse.messages(tollhouse.key, model="cli-model").status == 200
    assert run(tollhouse, "account", "disable", "second") == "second is disabled"
    assert tollhouse.messages(tollhouse.key, model="cli-model").status == 503
    assert run(tollhouse, "account", "enable", "second") == "second is enabled"
    assert run(tollhouse, "account", "delete", "second") == "second is deleted"
    assert tollhouse.messages(tollhouse.key, model="cli-model").status == 404


def test_a_service_token_is_made_listed_and_revoked(tollhouse: Deployment) -> None:
    token = run(tollhouse, "token", "add", "--name", "reporting", "--tenant", "demo", "--days", "30")
    assert tollhouse.usage_with(token).GetBalance(usage_pb2.GetBalanceRequest()).balance_nano > 0
    listed = run(tollhouse, "token", "list")
    assert token not in listed
    line = next(line for line in listed.splitlines() if "reporting" in line)
    assert line.split()[2:4] == ["usage", "demo"]
    token_id = line.split()[0]
    assert run(tollhouse, "token", "revoke", token_id) == f"{token_id} (reporting) is revoked"
    assert "no service token" in run(tollhouse, "token", "revoke", "tok_nobody", fails=True)
    assert "for the scope usage only" in run(
        tollhouse, "token", "add", "--name", "x", "--scope", "internal", "--tenant", "demo", fails=True
    )


def test_usage_is_summed_up(tollhouse: Deployment) -> None:
    heads = run(tollhouse, "usage", "summary", "--by", "hour", "--group", "tenant", "model").splitlines()[0]
    assert heads.split()[:3] == ["FROM", "TENANT", "MODEL"]
    too_much = ("usage", "summary", "--by", "hour", "--from", "2020-01-01")
    assert "more than 31 days" in run(tollhouse, *too_much, fails=True)


def test_a_command_that_cannot_be_done_says_why(tollhouse: Deployment, tmp_path: Path) -> None:
    assert "no tenant 'nobody'" in run(tollhouse, "key", "add", "nobody", "--name", "x", fails=True)
    assert "not an amount" in run(tollhouse, "topup", "demo", "lots", fails=True)
    missing = ("account", "add", "--kind", "anthropic", "--models", "m", "--key-file", str(tmp_path / "none"))
    assert "No such file" in run(tollhouse, *missing, fails=True)
    assert "no request" in run(tollhouse, "usage", "get", "req_unknown", fails=True)
    done = subprocess.run(
        [COMMAND, "tenant", "list", "--state-dir", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "tollhouse:" in done.stderr


def test_a_service_with_wrong_settings_names_every_fault(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "TOLLHOUSE_EDGE_PORT": "x", "TOLLHOUSE_EDGE_TYPO": "1"}
    done = subprocess.run([COMMAND, "edge"], capture_output=True, text=True, timeout=30, env=environment)
    assert done.returncode == 2
    for words in ("TOLLHOUSE_EDGE_NATS_URL is not set", "TOLLHOUSE_EDGE_PORT: 'x'", "TOLLHOUSE_EDGE_TYPO is not a"):
        assert words in done.stderr


def test_plans_and_limits_are_set_shown_and_lifted(tollhouse: Deployment) -> None:
    made = ("plan", "set", "cli-plan", "--requests", "60", "--tokens", "200000", "--model-limit", "a:free:requests=5")
    assert run(tollhouse, *made) == "cli-plan: 60 requests, 200000 tokens, a:free: 5 requests"
    changed = (
        "plan",
        "set",
        "cli-plan",
        "--tokens",
        "none",
        "--concurrent",
        "2",
        "--model-limit",
        "a:free:requests=none",
    )
    assert run(tollhouse, *changed) == "cli-plan: 60 requests, 2 concurrent"
    listed = [line.split(maxsplit=1) for line in run(tollhouse, "plan", "list").splitlines()]
    assert ["starter", "60 requests, 200000 tokens"] in listed
    assert run(tollhouse, "tenant", "add", "planned", "--plan", "cli-plan") == "planned"
    assert "in use" in run(tollhouse, "plan", "delete", "cli-plan", fails=True)
    run(tollhouse, "key", "add", "planned", "--name", "k", "--group", "batch", "--plan", "free")
    key = run(tollhouse, "key", "list", "planned").splitlines()[1]
    assert {"batch", "free"} <= set(key.split())
    key_id = key.split()[0]
    own = ("key", "set", key_id, "--no-plan", "--input-tokens", "1000", "--output-tokens", "500")
    assert run(tollhouse, *own) == f"{key_id}: group batch, plan -, limits 1000 input tokens, 500 output tokens"
    moved = ("key", "set", key_id, "--group", "default", "--plan", "pro", "--input-tokens", "none")
    assert run(tollhouse, *moved) == f"{key_id}: group default, plan pro, limits 500 output tokens"
    assert run(tollhouse, "tenant", "set", "planned", "--requests", "9") == "planned: plan cli-plan, limits 9 requests"
    assert "9 requests" in run(tollhouse, "tenant", "list")
    assert run(tollhouse, "tenant", "set", "planned", "--no-plan") == "planned: plan -, limits 9 requests"
    assert run(tollhouse, "plan", "delete", "cli-plan") == "cli-plan is deleted"
    assert "no tenant" in run(tollhouse, "tenant", "set", "nobody-here", "--requests", "1", fails=True)
    assert "no plan" in run(tollhouse, "tenant", "set", "planned", "--plan", "unheard-of", fails=True)
    assert "whole number" in run(tollhouse, "plan", "set", "odd", "--requests", "many", fails=True)
    assert "MODEL:METRIC=N" in run(tollhouse, "plan", "set", "odd", "--model-limit", "requests=1", fails=True)


def test_an_operator_of_the_console_is_made_shut_out_and_let_in_again(tollhouse: Deployment) -> None:
    email = "second.operator@tests.example"
    password = run(tollhouse, "person", "add", email, "--operator", "--tenant", "demo")
    assert "already" in run(tollhouse, "person", "add", email.upper(), fails=True)
    assert "not an e-mail address" in run(tollhouse, "person", "add", "nobody", fails=True)
    visitor = Visitor.of(tollhouse)
    assert visitor.sign_in(email, password).status_code == 303
    assert visitor.get("/operator").status_code == 200
    row = next(line for line in run(tollhouse, "person", "list").splitlines() if email in line)
    assert row.split()[2:] == ["operator", "demo", "enabled"]
    assert run(tollhouse, "person", "disable", email) == f"{email} is disabled"
    assert not visitor.is_signed_in
    assert run(tollhouse, "person", "enable", email) == f"{email} is enabled"
    assert visitor.sign_in(email, password).status_code == 303
    new = run(tollhouse, "person", "password", email)
    assert not visitor.is_signed_in
    assert visitor.sign_in(email, password).status_code == 401
    assert visitor.sign_in(email, new).status_code == 303
    assert "there is no person" in run(tollhouse, "person", "disable", "nobody@tests.example", fails=True)
