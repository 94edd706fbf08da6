"""The database in a file and back, as docs/OPERATIONS.md says, with what was not booked yet."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.deployment import COMMAND, Deployment, deployed, eventually
from tollhouse.v1 import ledger_pb2


def differences(tollhouse: Deployment) -> list[str]:
    checks = tollhouse.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest(), timeout=60).checks
    return [difference for check in checks for difference in check.differences]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=120)


def test_a_restored_deployment_knows_keys_money_and_usage_and_books_what_was_on_its_way(tmp_path: Path) -> None:
    state_dir, dump = tmp_path / "state", tmp_path / "tollhouse.dump"
    with deployed(state_dir) as tollhouse:
        tenant = tollhouse.tenant(5)
        assert tollhouse.messages(tenant.key).status == 200
        eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 1)
        assert "secrets.json" in tollhouse.command("backup", str(dump))
        assert dump.stat().st_mode & 0o777 == 0o600
        (ledger,) = tollhouse.pids("ledger")
        os.kill(ledger, signal.SIGSTOP)  # until it is killed: so the next one is in the stream when everything ends
        assert tollhouse.messages(tenant.key).status == 200
        assert command("restore", str(dump), "--state-dir", str(state_dir)).returncode == 1  # it runs
    moved = tmp_path / "moved"
    moved.mkdir(mode=0o700)
    for name in ("secrets.json", "master.key", "receipt.key", "demo.key", "nats", "journal"):
        (shutil.copytree if (state_dir / name).is_dir() else shutil.copy2)(state_dir / name, moved / name)
    done = command("restore", str(dump), "--state-dir", str(moved))
    assert done.returncode == 0, done.stderr
    with deployed(moved, TOLLHOUSE_LEDGER_REDELIVERED_AFTER_S="2") as restored:
        assert restored.messages(tenant.key).status == 200
        # The ledger that was stopped may have been sent it already; it is sent anew when nobody confirmed it.
        eventually(lambda: len(restored.usages(tenant.tenant_id)) == 3, 45, what="the one on its way is booked, once")
        spent = sum(usage.cost_nano for usage in restored.usages(tenant.tenant_id))
        assert restored.balance_nano(tenant.tenant_id) == 5_000_000_000 - spent
        assert differences(restored) == []


def test_what_cannot_be_restored_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    state_dir, broken = tmp_path / "state", tmp_path / "broken.dump"
    broken.write_bytes(b"PGDMP is how it begins, and not how it goes on")
    with deployed(state_dir) as tollhouse:
        tenant = tollhouse.tenant()
    done = command("restore", str(broken), "--state-dir", str(state_dir))
    assert done.returncode == 1
    assert "pg_restore failed" in done.stderr
    with deployed(state_dir) as tollhouse:
        assert tollhouse.messages(tenant.key).status == 200
