"""A deployment of the release before is upgraded under load, process by process, on a schema that is new already.

The release before is the commit in UPGRADE_FROM; without it the one where this branch left `main`, else the commit
before this one.
"""

import asyncio
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import pytest

from services.migrate import migrate
from tests.books import superuser_url
from tests.chaos.load import SENT_AGAIN, STEADY, Load
from tests.chaos.rolling import end, processes
from tests.deployment import MODEL, NOTICED, ROOT, deployed, eventually
from tests.second_factors import Enrolled, show, with_password
from tollhouse.v1 import ledger_pb2

RATE: Final = 20.0
PARTS: Final = ("ledger", "auth", "router", "console", "edge")
REPLACED: Final = ("services", "proto")


def git(*arguments: str) -> bytes | None:
    done = subprocess.run(("git", "-C", str(ROOT), *arguments), capture_output=True)
    return done.stdout if done.returncode == 0 else None


def release_before() -> str:
    """The commit to upgrade from."""
    if said := os.environ.get("UPGRADE_FROM"):
        return said
    head = git("rev-parse", "HEAD")
    for branch in ("origin/main", "main"):
        left = git("merge-base", "HEAD", branch)
        if left and left != head:
            return left.decode().strip()
    pytest.fail("there is no commit before: set UPGRADE_FROM to the release that is to be upgraded")


def unpacked(commit: str, folder: Path) -> Path:
    """The code of a commit."""
    archive = git("archive", commit, *REPLACED)
    assert archive, f"there is no commit {commit}: fetch it, or set UPGRADE_FROM"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def python_path(folder: Path) -> str:
    return f"{folder}:{folder / 'proto' / 'gen'}"


@pytest.mark.timeout(300)
async def test_the_release_before_is_upgraded_process_by_process_and_nobody_notices(tmp_path: Path) -> None:
    code = unpacked(release_before(), tmp_path / "code")
    command = (sys.executable, "-P", "-m", "services")
    options = ("--edges", "2", "--auths", "2", "--routers", "2", "--ledgers", "2")
    settings = {**NOTICED, "PYTHONPATH": python_path(code)}
    with deployed(tmp_path / "state", *options, command=command, **settings) as tollhouse:
        tenants = [tollhouse.tenant(1000) for _ in range(2)]
        tollhouse.account("first", tollhouse.simulator_url, {MODEL: MODEL})
        enrolled = Enrolled.at(tollhouse)
        load = Load(tollhouse.base_url, tenants, RATE, STEADY, SENT_AGAIN)
        running = asyncio.create_task(load.run())
        await asyncio.sleep(2)
        await asyncio.to_thread(migrate, superuser_url(tollhouse), {})
        await asyncio.sleep(2)
        assert load.failed == [], "the release before does not work on the new schema"
        assert enrolled.visitor.is_signed_in
        for part in REPLACED:
            shutil.rmtree(code / part)
            shutil.copytree(ROOT / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in processes(tollhouse, PARTS):
            await end(tollhouse, name)
        assert enrolled.visitor.is_signed_in
        assert show(with_password(tollhouse, enrolled.email), enrolled.code()) == 303
        assert show(with_password(tollhouse, enrolled.email), enrolled.recovery_codes[0]) == 303
        load.stopping = True
        await running
        assert load.failed == []
        eventually(lambda: sum(len(tollhouse.usages(tenant.tenant_id)) for tenant in tenants) >= load.made, 30)
        checks = tollhouse.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest(), timeout=60).checks
        assert [difference for check in checks for difference in check.differences] == []
