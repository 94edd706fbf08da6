"""The operator's commands about where requests go, each run for real."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.deployment import COMMAND, MODEL, Deployment, eventually
from tollhouse.v1 import router_pb2


def run(tollhouse: Deployment, *arguments: str, text: str = "", fails: bool = False) -> str:
    """Runs a command with `text` as its standard input; its standard output, or standard error when it is to fail."""
    command = [COMMAND, *arguments, "--state-dir", str(tollhouse.state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, input=text)
    assert done.returncode == (1 if fails else 0), done.stderr
    return (done.stderr if fails else done.stdout).strip()


def fields(shown: str) -> dict[str, str]:
    """What `account show` says, by what it says it of."""
    return {line[:10].strip(): line[11:] for line in shown.splitlines()}


@pytest.fixture
def mine(tollhouse: Deployment) -> str:
    """An upstream account of a pool of its own, that nothing can be reached at."""
    run(tollhouse, "pool", "add", "mine")
    add = ("account", "add", "--kind", "anthropic", "--name", "mine", "--base-url", "http://127.0.0.1:9")
    run(tollhouse, *add, "--pool", "mine", "--model", "claude-mine-1", text="first-secret\n")
    return "mine"


def test_an_account_is_told_everything_and_then_changed_in_part(tollhouse: Deployment, tmp_path: Path) -> None:
    assert run(tollhouse, "pool", "add", "p1") == "p1 holds 0 upstream accounts"
    file = tmp_path / "key"
    file.write_text("first-secret\n")
    added = run(
        tollhouse,
        *("account", "add", "--kind", "openrouter", "--name", "told", "--credential-file", str(file)),
        *("--model", "a", "--model", "b=there/b", "--pool", "p1", "--weight", "50", "--priority", "3"),
        *("--header", "X-Title=us", "--header", "http-referer=https://us.example/?a=b", "--proxy", "http://proxy:3128"),
        *("--max-concurrent", "4", "--rpm", "60", "--itpm", "1000", "--otpm", "200", "--resale-allowed"),
        *("--note", "until March"),
    )
    assert added.endswith("serves a, b")
    shown = run(tollhouse, "account", "show", "told")
    assert "first-secret" not in shown
    told = fields(shown)
    assert told["base url"] == "https://openrouter.ai/api"
    assert (told["kind"], told["pool"], told["weight"], told["priority"]) == ("openrouter", "p1", "50", "3")
    assert told["limits"] == "4 at a time, 60 requests a minute, 1000 input tokens a minute, 200 output tokens a minute"
    assert (told["proxy"], told["resale"], told["note"]) == ("http://proxy:3128", "allowed", "until March")
    assert "header     http-referer: https://us.example/?a=b" in shown
    assert "model      b = there/b" in shown

    changed = ("--header", "X-Title=", "--rpm", "0", "--proxy", "", "--resale-allowed", "no", "--model", "c")
    assert run(tollhouse, "account", "set", "told", *changed).endswith("serves a, b, c")
    shown = run(tollhouse, "account", "show", "told")
    told = fields(shown)
    assert "x-title" not in shown
    assert told["limits"] == "4 at a time, 1000 input tokens a minute, 200 output tokens a minute"
    assert (told["proxy"], told["resale"], told["note"]) == ("-", "not noted as allowed", "until March")
    assert run(tollhouse, "account", "set", "told", "--models", "d").endswith("serves d")
    run(tollhouse, "account", "delete", "told")
    assert run(tollhouse, "pool", "delete", "p1") == "p1 is deleted"


def test_a_credential_comes_from_standard_input_and_is_replaced(tollhouse: Deployment, mine: str) -> None:
    item = router_pb2.PickItem(id=1, lease_id="req_cli:1", model="claude-mine-1", pool=mine)
    request = router_pb2.RouterDecideRequest(sequence=1, pick=[item])
    assert tollhouse.router.Decide(request).pick[0].credential == "first-secret"
    assert run(tollhouse, "account", "credential", mine, text="second-secret\n") == "mine has another credential"
    assert tollhouse.router.Decide(request).pick[0].credential == "second-secret"
    assert "credential is needed" in run(tollhouse, "account", "credential", mine, fails=True)


def test_a_list_says_why_an_account_cools_and_until_when_and_a_clear_ends_it(tollhouse: Deployment, mine: str) -> None:
    router = tollhouse.router

    def end(lease: str, **said: int) -> None:
        item = router_pb2.PickItem(id=1, lease_id=lease, model="claude-mine-1", pool=mine)
        router.Decide(router_pb2.RouterDecideRequest(sequence=1, pick=[item]))
        report = router_pb2.ReportItem(id=1, lease_id=lease)
        for name, value in said.items():
            setattr(report, name, value)
        router.Decide(router_pb2.RouterDecideRequest(sequence=2, report=[report]))

    def health() -> str:
        lines = run(tollhouse, "account", "list").splitlines()
        return next(line for line in lines if line.startswith("mine "))

    end("req_throttled:1", outcome=router_pb2.OUTCOME_THROTTLED, retry_after_ms=60_000)
    assert "claude-mine: cooling: throttled, over in " in health()
    assert health().split("over in ")[1].split()[1] == "s"
    assert run(tollhouse, "account", "clear", mine, "--family", "claude-mine") == "mine is cleared"
    assert "cooling" not in health()
    eventually(lambda: not decided(tollhouse, mine).HasField("error"))
    end("req_refused:1", outcome=router_pb2.OUTCOME_REFUSED)
    assert "claude-mine: cooling: refused, until it is cleared or has another credential" in health()
    assert "refused" in fields(run(tollhouse, "account", "show", mine))["health"]
    run(tollhouse, "account", "clear", mine)
    assert "no upstream account 'nobody'" in run(tollhouse, "account", "clear", "nobody", fails=True)


def decided(tollhouse: Deployment, pool: str) -> router_pb2.PickResult:
    item = router_pb2.PickItem(id=1, lease_id="req_again:1", model="claude-mine-1", pool=pool)
    picked = tollhouse.router.Decide(router_pb2.RouterDecideRequest(sequence=1, pick=[item])).pick[0]
    report = router_pb2.ReportItem(id=1, lease_id="req_again:1", outcome=router_pb2.OUTCOME_UNUSED)
    tollhouse.router.Decide(router_pb2.RouterDecideRequest(sequence=1, report=[report]))
    return picked


def test_pools_and_groups_are_made_listed_and_deleted(tollhouse: Deployment, mine: str) -> None:
    assert run(tollhouse, "group", "set", "ours", "mine", "default") == "ours asks mine, then default"
    assert "mine, default" in run(tollhouse, "group", "list")
    assert "claude-mine-1" in next(
        line for line in run(tollhouse, "pool", "list").splitlines() if line.startswith("mine ")
    )
    assert "holds 1 upstream account" in run(tollhouse, "pool", "delete", "mine", fails=True)
    assert "no pool 'nowhere'" in run(tollhouse, "group", "set", "ours", "nowhere", fails=True)
    assert run(tollhouse, "group", "delete", "ours") == "ours is deleted"


def test_a_model_is_given_a_family_and_times(tollhouse: Deployment, mine: str) -> None:
    told = ("--family", "special", "--first-byte", "2.5", "--total", "90", "--display-name", "Mine 1")
    assert run(tollhouse, "model", "set", "claude-mine-1", *told) == "claude-mine-1 is of the family special"
    assert run(tollhouse, "model", "set", "claude-mine-1", "--idle", "7").endswith("special")
    line = next(line for line in run(tollhouse, "model", "list").splitlines() if line.startswith("claude-mine-1 "))
    cells = re.split(r" {2,}", line)
    assert cells[1:7] == ["Mine 1", "special", "-", "2.5 s", "7 s", "90 s"]
    again = ("--family", "", "--first-byte", "0", "--total", "0", "--idle", "0", "--display-name", "")
    assert run(tollhouse, "model", "set", "claude-mine-1", *again).endswith("family claude-mine")


def test_a_route_is_explained(tollhouse: Deployment) -> None:
    answer = tollhouse.messages(tollhouse.key)
    assert answer.status == 200
    explained = run(tollhouse, "route", "explain", answer.headers["x-request-id"]).splitlines()
    assert explained[0].split()[:3] == ["ATTEMPT", "AT", "POOL"]
    assert MODEL in explained[1]
    assert "simulator" in explained[1]
    assert "router" in explained[1]
    assert explained[3].split() == ["ATTEMPT", "CANDIDATE", "PRIORITY", "FOUND", "LOAD"]
    assert explained[4].split()[1:3] == ["simulator", "100"]
    assert "no router remembers" in run(tollhouse, "route", "explain", "req_nobody", fails=True)
