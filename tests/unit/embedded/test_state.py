"""Unit tests of services.embedded.state."""

import base64
import json
import os
from pathlib import Path

import pytest

from services.embedded.state import (
    Held,
    NotRunning,
    ProcessState,
    RunState,
    Secrets,
    StateFolder,
    master_key,
    receipt_key,
    write_private,
)

RUN = RunState(
    base_url="http://127.0.0.1:8080",
    api_key="sk-x",
    simulator_url="http://127.0.0.1:4",
    usage_grpc="127.0.0.1:3",
    usage_token="thst_x",
    console_url="http://127.0.0.1:8090",
    operator_email="operator@localhost",
    operator_password="secret",
    pids={"edge": [1, 2], "postgres": []},
    supervisor=9,
    ready=True,
    addresses={"auth": "127.0.0.1:1"},
    processes=[ProcessState("auth", "auth", None, 2, "127.0.0.1:1", "grpc://127.0.0.1:1")],
)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "deep" / "state")
    made.create()
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_folder_is_private_and_its_parents_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    folder = StateFolder(tmp_path / "open" / "state")
    folder.create()
    assert mode(folder.path) == 0o700
    assert mode(folder.path.parent) == 0o755


def test_a_folder_that_holds_something_else_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "somebody's").touch()
    StateFolder(tmp_path).create()
    assert mode(tmp_path) == 0o755
    assert mode(tmp_path / "log") == 0o700


def test_secrets_are_made_once_and_private(folder: StateFolder) -> None:
    first, key, signing_key = Secrets.load(folder), master_key(folder), receipt_key(folder)
    assert Secrets.load(folder) == first
    assert master_key(folder) == key
    assert receipt_key(folder) == signing_key != key
    assert len(base64.b64decode(key, validate=True)) == len(base64.b64decode(signing_key, validate=True)) == 32
    assert mode(folder.secrets) == mode(folder.master_key) == mode(folder.receipt_key) == 0o600
    values = [getattr(first, name) for name in Secrets.__struct_fields__]
    assert len(set(values)) == len(values)
    assert first.simulator.startswith("sim-")
    assert repr(first) == "Secrets(***)"


def test_a_secret_that_a_newer_release_needs_is_added_to_the_others(folder: StateFolder) -> None:
    write_private(folder.secrets, b'{"postgres": "old"}')
    loaded = Secrets.load(folder)
    assert loaded.postgres == "old"
    assert json.loads(folder.secrets.read_bytes())["nats"] == loaded.nats
    assert json.loads(folder.secrets.read_bytes())["ledger_token"] == loaded.ledger_token


def test_a_second_holder_is_told_who_the_first_is(folder: StateFolder) -> None:
    assert folder.holder() is None
    with folder.held():
        assert folder.holder() == os.getpid()
        with pytest.raises(Held) as held, folder.held():
            pass
        assert held.value.pid == os.getpid()
    assert folder.holder() is None
    with folder.held():
        pass


def test_run_json_comes_back_as_it_was_written(folder: StateFolder) -> None:
    with folder.held():
        RUN.write(folder)
        assert RunState.read(folder.path) == RUN
        assert mode(folder.run) == 0o600
        assert sorted(path.name for path in folder.path.iterdir()) == ["lock", "log", "nats", "run.json"]


def test_a_run_json_that_nobody_holds_is_not_believed(folder: StateFolder) -> None:
    RUN.write(folder)
    with pytest.raises(NotRunning, match="not running"):
        RunState.read(folder.path)
    with folder.held():
        folder.run.unlink()
        with pytest.raises(NotRunning, match="just starting"):
            RunState.read(folder.path)
    with pytest.raises(NotRunning):
        RunState.read(folder.path / "nowhere")


def test_the_ready_line_is_one_line_of_what_was_promised() -> None:
    line = RUN.ready_line()
    assert "\n" not in line
    assert json.loads(line) == {
        "base_url": "http://127.0.0.1:8080",
        "api_key": "sk-x",
        "simulator_url": "http://127.0.0.1:4",
        "usage_grpc": "127.0.0.1:3",
        "usage_token": "thst_x",
        "console_url": "http://127.0.0.1:8090",
        "operator_email": "operator@localhost",
        "operator_password": "secret",
        "pids": {"edge": [1, 2], "postgres": []},
    }
