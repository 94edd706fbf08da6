"""What the Dockerfile makes, made here by the same commands without an engine."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from services.__main__ import SERVICES
from tests.deploy.dockerfile import as_user, context, instructions
from tests.deployment import ROOT

pytestmark = pytest.mark.timeout(600)  # the image is made in the first test: it downloads what is in it
DOCKERFILE = instructions((ROOT / "Dockerfile").read_text())


def run(image: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the image, by its user, without anything of our environment."""
    return subprocess.run(
        [*as_user(), str(image / "bin" / "tollhouse"), *arguments],
        cwd="/",
        env={"PATH": f"{image}/bin:{os.defpath}", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_shows_its_help(image: Path) -> None:
    shown = run(image, "--help")
    assert shown.returncode == 0, shown.stderr
    assert "migrate" in shown.stdout


@pytest.mark.parametrize("service", [*SERVICES, "migrate"])
def test_every_service_starts_as_far_as_its_settings(image: Path, service: str) -> None:
    started = run(image, service) if service != "simulator" else run(image, service, "--help")
    if service == "simulator":  # it needs no setting: it would run
        assert started.returncode == 0, started.stderr
        return
    assert started.returncode != 0
    assert "is not set" in started.stderr
    assert "Traceback" not in started.stderr


def test_every_module_of_the_services_can_be_imported(image: Path) -> None:
    code = (
        "import importlib, pkgutil, services;"
        "names = [m.name for m in pkgutil.walk_packages(services.__path__, 'services.', onerror=lambda n: None)];"
        "[importlib.import_module(n) for n in names if '.migrations' not in n and not n.endswith('migrate.env')];"
        "print(len(names), services.__path__[0])"
    )
    done = subprocess.run(
        [*as_user(), str(image / "bin" / "python"), "-c", code],
        cwd="/",
        env={"PATH": os.defpath, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count, place = done.stdout.split()
    assert int(count) > 100
    assert place.startswith(str(image))


def test_what_is_no_code_is_in_the_image_too(image: Path) -> None:
    (packages,) = (image / "lib").glob("python3*/site-packages")
    for path in context():
        if path.parts[0] == "services" and path.suffix != ".pyc":
            assert (packages / path).is_file(), f"{path} is not in the image"
    assert (packages / "tollhouse" / "v1").is_dir()


def test_no_tool_that_installs_and_no_server_is_in_the_image(image: Path) -> None:
    names = {path.name for path in (image / "bin").iterdir()}
    assert not {name for name in names if re.match(r"pip|hatch|uv$|nats-server|postgres", name)}


def test_the_image_is_small(image: Path) -> None:
    size = sum(path.stat().st_size for path in image.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < 300 * 1024 * 1024, f"{size / 1024 / 1024:.0f} MiB"


def test_the_image_does_not_run_as_root() -> None:
    last = max(instruction.stage for instruction in DOCKERFILE)
    (user,) = [i.value for i in DOCKERFILE if i.stage == last and i.name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)  # numbers, which Kubernetes can judge


def test_the_last_stage_takes_nothing_but_the_environment() -> None:
    last = max(instruction.stage for instruction in DOCKERFILE)
    assert [i.value for i in DOCKERFILE if i.stage == last and i.name == "COPY"] == [
        "--from=build /opt/tollhouse /opt/tollhouse"
    ]


def test_the_image_listens_where_the_services_do() -> None:
    from importlib import import_module

    exposed = {int(port) for i in DOCKERFILE if i.name == "EXPOSE" for port in i.value.split()}
    for name, (package, class_name) in SERVICES.items():
        settings = getattr(import_module(f"{package}.settings"), class_name)
        fields = settings.__dataclass_fields__
        ports = {fields[field].default for field in ("port", "ops_port") if field in fields}
        assert name == "simulator" or ports <= exposed, name
