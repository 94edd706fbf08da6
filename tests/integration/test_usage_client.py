"""examples/usage_client.py against a running Tollhouse, as its users run it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.deployment import ROOT, Deployment, Tenant


def run(tollhouse: Deployment, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "TOLLHOUSE_USAGE_GRPC": tollhouse.ready["usage_grpc"],
        "TOLLHOUSE_USAGE_TOKEN": token or tollhouse.ready["usage_token"],
    }
    command = [sys.executable, str(ROOT / "examples" / "usage_client.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def booked(tollhouse: Deployment, tenant: Tenant) -> str:
    request_id = tollhouse.messages(tenant.key).headers["x-request-id"]
    assert tollhouse.usage_of(tenant.key, request_id).status == 200
    return request_id


def test_the_example_tells_balance_requests_and_sums(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    request_ids = [booked(tollhouse, tenant) for _ in range(3)]
    balance = run(tollhouse, "balance", tenant.tenant_id)
    assert (balance.returncode, balance.stderr) == (0, "")
    nano = tollhouse.balance_nano(tenant.tenant_id)
    assert balance.stdout.startswith(f"$0.{nano:09d} ")
    listed = run(tollhouse, "list", tenant.tenant_id, "--limit", "2").stdout.splitlines()
    assert [line.split()[0] for line in listed] == sorted(request_ids, reverse=True)[:2]
    assert run(tollhouse, "summary", tenant.tenant_id, "--by", "hour").returncode == 0


def test_the_example_watches_on_from_where_it_ended(tollhouse: Deployment, tmp_path: Path) -> None:
    tenant = tollhouse.tenant()
    watch = ("watch", tenant.tenant_id, "--token-file", str(tmp_path / "watch.token"), "--count", "1")
    seen = []
    for _ in range(3):
        request_id = booked(tollhouse, tenant)
        watched = run(tollhouse, *watch)
        assert watched.returncode == 0, watched.stderr
        seen.append(watched.stdout.split()[0])
        assert seen[-1] == f"{request_id}:1"
    assert len(set(seen)) == 3


def test_the_example_says_what_is_wrong(tollhouse: Deployment) -> None:
    refused = run(tollhouse, "balance", "demo", token="thst_nobody")
    assert refused.returncode == 1
    assert refused.stderr.startswith("unauthenticated: ")
