"""Unit tests of services.embedded.nats."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from services.embedded import nats
from services.embedded.process import StartFailed
from services.embedded.programs import Ports
from services.embedded.state import StateFolder

PORTS = Ports(
    public=1, auth=2, router=3, ledger=4, simulator=5, postgres=6, nats=7, console=8, console_ops=9, ops=(10,)
)


def folder_at(path: Path) -> StateFolder:
    folder = StateFolder(path)
    folder.create()
    return folder


def test_a_state_folder_keeps_its_number_of_servers(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    nats.keep_size(folder, 3)
    nats.keep_size(folder, 3)
    with pytest.raises(StartFailed, match="--nats-nodes 3"):
        nats.keep_size(folder, 1)


def test_a_folder_from_before_clusters_is_one_servers(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    (folder.nats / "jetstream").mkdir()
    with pytest.raises(StartFailed, match="--nats-nodes 1"):
        nats.keep_size(folder, 3)
    nats.keep_size(folder, 1)


def test_servers_of_a_cluster_know_each_other_and_keep_things_apart(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    programs = nats.programs(folder, replace(PORTS, more_nats=(11, 12), nats_routes=(21, 22, 23)), "pw")
    assert [program.name for program in programs] == ["nats", "nats-1", "nats-2"]
    written = [json.loads(Path(program.argv[-1]).read_text()) for program in programs]
    assert len({config["server_name"] for config in written}) == 3
    assert len({config["jetstream"]["store_dir"] for config in written}) == 3
    assert [config["cluster"]["listen"].rpartition(":")[2] for config in written] == ["21", "22", "23"]
    assert len(written[0]["cluster"]["routes"]) == 3


def test_one_server_alone_is_no_cluster(tmp_path: Path) -> None:
    (program,) = nats.programs(folder_at(tmp_path), PORTS, "pw")
    assert "cluster" not in json.loads(Path(program.argv[-1]).read_text())
