"""The Dockerfile as the tests see it, and its image made without an engine: the same commands in a folder."""

import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.deployment import ROOT

USER = 10001
"""The user of the image."""


class Instruction(NamedTuple):
    """One instruction, its continued lines joined; `stage` counts the FROMs before it."""

    stage: int
    name: str
    value: str


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile in their order; ARGs before the first FROM are of stage 0."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[Instruction] = []
    stage = 0
    for line in filter(str.strip, joined.splitlines()):
        name, _, value = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, value.strip()))
    return found


def context() -> list[Path]:
    """The files that an engine is sent, as .dockerignore says (of its rules those that ours uses), relative to the
    project."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return [Path(name) for name in tracked if (ROOT / name).is_file() and _sent(Path(name), rules)]


def _sent(path: Path, rules: list[str]) -> bool:
    """The last rule that fits a file or a folder above it decides (https://docs.docker.com/build/concepts/context/)."""
    sent = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        places = [path, *path.parents][:-1]
        if pattern.startswith("**/"):
            fits = any(fnmatch.fnmatch(place.name, pattern[3:]) for place in places)
        else:
            fits = any(fnmatch.fnmatch(str(place), pattern) for place in places)
        if fits:
            sent = rule.startswith("!")
    return sent


def build(folder: Path) -> Path:
    """Does what the first stage says, with /opt in `folder`; answers where the environment of the image is then."""
    work, opt = folder / "build", folder / "opt"
    work.mkdir(parents=True)
    opt.mkdir()
    sent = context()
    for instruction in instructions((ROOT / "Dockerfile").read_text()):
        if instruction.stage != 1:
            continue
        if instruction.name == "COPY":
            *sources, target = instruction.value.split()
            for source in sources:
                _copy(sent, source, work / target if len(sources) == 1 and target != "./" else work / source)
        elif instruction.name == "RUN":
            command = re.sub(r"(?<![\w.])/opt/", f"{opt}/", instruction.value)
            command = command.replace("--no-cache-dir", "")  # downloads once for many runs of the tests
            subprocess.run(["sh", "-ec", command], cwd=work, check=True, env=_environment())
    environment = opt / "tollhouse"
    for path in (environment, *environment.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)  # the root file system is read-only
    return environment


def remove(folder: Path) -> None:
    """Deletes what `build` made, read-only as it is."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def as_user(user: int = USER) -> tuple[str, ...]:
    """In front of a command: where the tests are run by root, it runs as this user, without a capability, in a user
    namespace in which root's files are its own."""
    return () if os.geteuid() else ("unshare", "--user", f"--map-user={user}", f"--map-group={user}")


def _copy(sent: list[Path], source: str, target: Path) -> None:
    files = [path for path in sent if path == Path(source) or Path(source) in path.parents]
    if not files:
        raise FileNotFoundError(f"COPY {source}: not in the project, or kept out by .dockerignore")
    for path in files:
        place = target / path.relative_to(source) if path != Path(source) else target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, place)


def _environment() -> dict[str, str]:
    """That of whoever runs the tests without what steers Python: pip's index settings stay."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
