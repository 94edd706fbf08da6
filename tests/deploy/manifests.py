"""What kustomize makes of deploy/k8s, as the tests see it."""

import functools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.deploy.compose import tool
from tests.deployment import ROOT

K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("base", "overlays/dev", "overlays/production")
WORKLOADS = ("Deployment", "StatefulSet", "Job")
COMPONENT = "app.kubernetes.io/component"
Object = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> str:
    """The manifests of an overlay, as they are applied."""
    command = [tool("kubectl"), "kustomize", str(K8S / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": os.defpath}).stdout


@functools.cache
def objects(overlay: str) -> tuple[Object, ...]:
    """The objects of an overlay."""
    return tuple(yaml.safe_load_all(rendered(overlay)))


def of_kind(overlay: str, *kinds: str) -> list[Object]:
    """Those of some kinds."""
    return [found for found in objects(overlay) if found["kind"] in kinds]


def name_of(found: Object) -> str:
    """An object's name."""
    name: str = found["metadata"]["name"]
    return name


@dataclass(frozen=True)
class Workload:
    """Something that has pods."""

    kind: str
    name: str
    labels: dict[str, str]
    """Of its pods."""
    pod: Object
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """All of them, those that prepare and those that stand beside too."""
        return [*self.pod.get("initContainers", ()), *self.pod["containers"]]

    @property
    def main(self) -> Object:
        """The container that the workload is for."""
        found: Object = self.pod["containers"][0]
        return found

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its main container; empty where Kubernetes fills them in."""
        return {entry["name"]: entry.get("value", "") for entry in self.main.get("env", ())}

    @property
    def ports(self) -> dict[str, int]:
        """The main container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.main.get("ports", ())}

    @property
    def is_ours(self) -> bool:
        """Whether it runs our image."""
        image: str = self.main["image"]
        return image.rpartition("/")[2].partition(":")[0] == "tollhouse"


def workloads(overlay: str) -> list[Workload]:
    """Everything that has pods."""
    found = []
    for made in of_kind(overlay, *WORKLOADS):
        template = made["spec"]["template"]
        found.append(
            Workload(made["kind"], name_of(made), template["metadata"]["labels"], template["spec"], made["spec"])
        )
    return found


def fits(selector: Object, labels: dict[str, str]) -> bool:
    """Whether labels are what a label selector asks for."""
    for name, value in selector.get("matchLabels", {}).items():
        if labels.get(name) != value:
            return False
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def each_workload() -> Iterator[Any]:
    """Every workload of every overlay, for tests of one."""
    import pytest

    for overlay in OVERLAYS:
        for workload in workloads(overlay):
            yield pytest.param(overlay, workload, id=f"{overlay}-{workload.name}")
