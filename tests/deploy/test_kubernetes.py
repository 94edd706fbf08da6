"""deploy/k8s fits the services, and its parts fit each other."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.deploy.compose import tool
from tests.deploy.manifests import (
    COMPONENT,
    K8S,
    OVERLAYS,
    Workload,
    each_workload,
    fits,
    name_of,
    objects,
    of_kind,
    workloads,
)
from tests.deploy.settings import CLASSES, faults, value
from tests.deployment import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FLUSH_S = 10
"""What an edge may need after its drain, to have its usage confirmed (services/edge/app.py)."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "workload" in metafunc.fixturenames:
        metafunc.parametrize(("overlay", "workload"), list(each_workload()))
    elif "overlay" in metafunc.fixturenames:
        metafunc.parametrize("overlay", OVERLAYS)


def service_of(workload: Workload) -> str:
    return "cli" if workload.name == "operator" else workload.name


def test_every_variable_is_a_setting_and_none_is_missing(overlay: str, workload: Workload) -> None:
    if workload.is_ours:
        found = faults(service_of(workload), workload.environment)
        assert not found, "\n".join(found)


def test_what_is_listened_to_is_what_the_settings_say(overlay: str, workload: Workload) -> None:
    if not workload.is_ours or workload.name not in CLASSES or workload.name == "migrate":
        return
    environment = workload.environment
    for name, setting in (("http", "port"), ("grpc", "port"), ("operations", "ops_port")):
        if name in workload.ports:
            assert value(workload.name, setting, environment) == str(workload.ports[name])
    assert value(workload.name, "host", environment) == "0.0.0.0"
    if "operations" in workload.ports:
        assert value(workload.name, "ops_host", environment) == "0.0.0.0"


def test_every_probe_asks_a_port_that_there_is(overlay: str, workload: Workload) -> None:
    for container in workload.containers:
        ports = {port["name"] for port in container.get("ports", ())}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(kind, {})
            asked = probe.get("httpGet") or probe.get("tcpSocket")
            if asked:
                assert asked["port"] in ports
    if workload.is_ours and workload.kind != "Job" and workload.name != "operator":
        assert {"readinessProbe", "livenessProbe"} <= workload.main.keys()


def test_pods_get_longer_to_end_than_they_need(overlay: str, workload: Workload) -> None:
    if workload.name not in CLASSES or workload.name in ("migrate", "simulator"):
        return
    sleep_s = workload.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain_s = float(value(workload.name, "drain_s", workload.environment))
    if workload.name == "edge":
        drain_s += float(value("edge", "drain_notice_s", workload.environment))
    # auth and the router wait that long twice: until their callers have turned away, and for what is under way
    needs_s = sleep_s + 2 * drain_s + FLUSH_S if workload.name in ("auth", "router") else sleep_s + drain_s + FLUSH_S
    assert workload.pod["terminationGracePeriodSeconds"] > needs_s


def test_what_faces_clients_leaves_before_it_stops(overlay: str, workload: Workload) -> None:
    if workload.name in ("edge", "console"):
        assert workload.main["lifecycle"]["preStop"]["sleep"]["seconds"] >= 10


def test_pods_are_as_restricted_as_the_namespace_demands(overlay: str, workload: Workload) -> None:
    assert workload.pod["automountServiceAccountToken"] is False
    assert workload.pod["enableServiceLinks"] is False
    assert workload.pod["securityContext"]["runAsNonRoot"] is True
    assert workload.pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in workload.containers:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


def test_a_service_account_is_there_for_every_workload(overlay: str, workload: Workload) -> None:
    accounts = {name_of(made): made for made in of_kind(overlay, "ServiceAccount")}
    assert accounts[workload.pod["serviceAccountName"]]["automountServiceAccountToken"] is False


def test_selectors_of_services_budgets_and_autoscalers_find_one_workload(overlay: str) -> None:
    there = workloads(overlay)
    for made in of_kind(overlay, "Service"):
        behind = [one for one in there if fits({"matchLabels": made["spec"]["selector"]}, one.labels)]
        assert len(behind) == 1, name_of(made)
        (found,) = behind
        for port in made["spec"]["ports"]:
            assert port["targetPort"] in found.ports
            assert port["port"] == found.ports[port["targetPort"]]
    for made in of_kind(overlay, "PodDisruptionBudget"):
        assert len([one for one in there if fits(made["spec"]["selector"], one.labels)]) == 1
    names = {(one.kind, one.name) for one in there}
    for made in of_kind(overlay, "HorizontalPodAutoscaler", "ScaledObject"):
        target = made["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in names


def test_in_production_every_service_has_a_budget_and_two_replicas() -> None:
    overlay = "overlays/production"
    scaled = {}
    for made in of_kind(overlay, "HorizontalPodAutoscaler"):
        scaled[made["spec"]["scaleTargetRef"]["name"]] = made["spec"]["minReplicas"]
    for made in of_kind(overlay, "ScaledObject"):
        assert made["spec"]["scaleTargetRef"]["name"] not in scaled, "two autoscalers would fight"
        scaled[made["spec"]["scaleTargetRef"]["name"]] = made["spec"]["minReplicaCount"]
    budgets = {made["spec"]["selector"]["matchLabels"][COMPONENT] for made in of_kind(overlay, "PodDisruptionBudget")}
    for service in ("edge", "auth", "router", "ledger", "console"):
        assert scaled[service] >= 2
        assert service in budgets
    assert "nats" in budgets


def test_a_statefulset_has_the_service_that_names_its_pods(overlay: str) -> None:
    headless = {name_of(made) for made in of_kind(overlay, "Service") if made["spec"].get("clusterIP") == "None"}
    for workload in workloads(overlay):
        if workload.kind == "StatefulSet":
            assert workload.spec["serviceName"] in headless


def test_addresses_in_settings_are_services(overlay: str, workload: Workload) -> None:
    ports = {
        f"{name_of(made)}:{port['port']}" for made in of_kind(overlay, "Service") for port in made["spec"]["ports"]
    }
    for name, said in workload.environment.items():
        if name.endswith("_ADDRESS"):
            assert said in ports, f"{name} is {said}"


def test_every_file_that_a_variable_names_is_mounted(overlay: str, workload: Workload) -> None:
    for name, said in workload.environment.items():
        if said.startswith("/run/"):
            mounts = {mount["mountPath"] for mount in workload.main["volumeMounts"]}
            assert any(said.startswith(f"{mount}/") for mount in mounts), f"{name} is {said}"


def test_images_have_the_version_of_the_code_and_one_tag_each(overlay: str) -> None:
    tags: dict[str, set[str]] = {}
    for workload in workloads(overlay):
        for container in workload.containers:
            image, _, tag = container["image"].rpartition(":")
            assert image, f"{container['image']} has no tag"
            tags.setdefault(image, set()).add(tag)
    assert all(len(found) == 1 for found in tags.values())
    (ours,) = [found for image, found in tags.items() if image.rpartition("/")[2] == "tollhouse"]
    assert ours == {VERSION}


def test_compose_and_kubernetes_run_the_same_images() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    here = {service["image"].split(":")[0]: service["image"] for service in compose.values()}
    for workload in workloads("overlays/dev"):
        if workload.name in ("nats", "postgres"):
            assert here[workload.name] == workload.main["image"]
    assert compose["ledger"]["image"] == f"${{TOLLHOUSE_IMAGE:-tollhouse:{VERSION}}}"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The keys of every Secret that the scripts make."""
    folder = tmp_path_factory.mktemp("secrets")
    made = ["sh", str(ROOT / "deploy/secrets.sh"), str(folder), "postgres-rw:5432", "nats:4222"]
    subprocess.run(made, check=True)
    path = f"{Path(tool('kubectl')).parent}:{os.defpath}"
    said = subprocess.run(
        ["sh", str(K8S / "secrets.sh"), str(folder)], check=True, capture_output=True, text=True, env={"PATH": path}
    ).stdout
    return {name_of(one): set(one["data"]) for one in yaml.safe_load_all(said) if one}


def test_every_secret_that_is_mounted_is_made_with_its_keys(
    overlay: str, workload: Workload, secrets: dict[str, set[str]]
) -> None:
    certificates = {made["spec"]["secretName"] for made in of_kind(overlay, "Certificate")}
    keys = set()
    for volume in workload.pod.get("volumes", ()):
        if "secret" in volume:
            name = volume["secret"]["secretName"]
            assert name in secrets or name in certificates
            keys |= secrets.get(name, set())
    used = {said.rpartition("/")[2] for said in workload.environment.values() if said.startswith("/run/secrets/")}
    if workload.name == "nats":
        used = {"authorization.conf"}
    assert used <= keys
    if workload.is_ours:
        assert keys <= used, f"{workload.name} is given secrets that it does not read: {keys - used}"


def test_the_doctor_is_told_of_every_store_and_every_service(overlay: str) -> None:
    (operator,) = [workload for workload in workloads(overlay) if workload.name == "operator"]
    assert operator.environment.keys() >= {
        "TOLLHOUSE_DOCTOR_DATABASE_URL_FILE",
        "TOLLHOUSE_DOCTOR_NATS_URL_FILE",
        "TOLLHOUSE_CLI_LEDGER_TOKEN_FILE",
        *(f"TOLLHOUSE_CLI_{service}_ADDRESS" for service in ("AUTH", "ROUTER", "LEDGER")),
    }


def test_the_operator_can_be_given_the_journal_of_an_edge_that_is_gone(overlay: str) -> None:
    (made,) = [found for found in of_kind(overlay, "Deployment") if name_of(found) == "operator"]
    command = [tool("kubectl"), "patch", "--local", "--filename=-", "--output=json"]
    said = subprocess.run(
        [*command, f"--patch-file={K8S / 'lost-journal.yaml'}"],
        check=True,
        capture_output=True,
        input=json.dumps(made).encode(),
        env={"PATH": os.defpath},
    ).stdout
    template = json.loads(said)["spec"]["template"]
    operator = Workload("Deployment", "operator", template["metadata"]["labels"], template["spec"], {})
    (edge,) = [workload for workload in workloads(overlay) if workload.name == "edge"]
    (volume,) = edge.spec["volumeClaimTemplates"]
    claims = {
        entry["persistentVolumeClaim"]["claimName"]: entry["name"]
        for entry in operator.pod["volumes"]
        if "persistentVolumeClaim" in entry
    }
    assert claims.keys() == {f"{name_of(volume)}-edge-0"}
    places = {mount["name"]: mount["mountPath"] for mount in operator.main["volumeMounts"]}
    (there,) = [mount["mountPath"] for mount in edge.main["volumeMounts"] if mount["name"] == name_of(volume)]
    assert places[claims["journal-edge-0"]] == there
    assert {"secrets", "tmp"} <= places.keys()


def test_every_config_map_that_is_mounted_is_there(overlay: str, workload: Workload) -> None:
    maps = {name_of(made) for made in of_kind(overlay, "ConfigMap")}
    for volume in workload.pod.get("volumes", ()):
        if "configMap" in volume:
            assert volume["configMap"]["name"] in maps


def test_streams_have_as_many_replicas_as_there_are_servers_of_nats_up_to_three(overlay: str) -> None:
    by_name = {workload.name: workload for workload in workloads(overlay)}
    servers = by_name["nats"].spec["replicas"]
    for name, variable in (
        ("ledger", "TOLLHOUSE_LEDGER_STREAM_REPLICAS"),
        ("router", "TOLLHOUSE_ROUTER_BUCKET_REPLICAS"),
    ):
        assert by_name[name].environment[variable] == str(min(servers, 3))


def test_routes_of_the_gateway_lead_to_services_without_an_end_of_their_own() -> None:
    overlay = "overlays/production"
    ports = {(name_of(m), port["port"]) for m in of_kind(overlay, "Service") for port in m["spec"]["ports"]}
    (gateway,) = of_kind(overlay, "Gateway")
    listeners = {listener["name"]: listener["hostname"] for listener in gateway["spec"]["listeners"]}
    routes = of_kind(overlay, "HTTPRoute")
    assert len(routes) == 2
    for route in routes:
        (parent,) = route["spec"]["parentRefs"]
        assert route["spec"]["hostnames"] == [listeners[parent["sectionName"]]]
        for rule in route["spec"]["rules"]:
            assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
            for backend in rule["backendRefs"]:
                assert (backend["name"], backend["port"]) in ports


def test_a_certificate_names_the_service_that_shows_it() -> None:
    overlay = "overlays/production"
    certificates = {made["spec"]["secretName"]: made["spec"] for made in of_kind(overlay, "Certificate")}
    for workload in workloads(overlay):
        if workload.is_ours and workload.name != "migrate":
            spec = certificates[f"tollhouse-{workload.name}-tls"]
            assert spec["uris"] == [f"spiffe://tollhouse/{workload.name}"]
            assert "client auth" in spec["usages"]
            if "grpc" in workload.ports:
                assert f"{workload.name}.tollhouse.internal" in spec["dnsNames"]
                assert "server auth" in spec["usages"]


def test_every_operations_port_is_scraped() -> None:
    overlay = "overlays/production"
    (monitor,) = of_kind(overlay, "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    scraped = set()
    for made in of_kind(overlay, "Service"):
        chosen = fits(monitor["spec"]["selector"], made["metadata"]["labels"])
        if chosen and any(port["name"] == endpoint["port"] for port in made["spec"]["ports"]):
            scraped.add(made["metadata"]["labels"][monitor["spec"]["jobLabel"]])
    assert scraped == {"edge", "auth", "router", "ledger", "console"}


def test_what_scales_edges_is_a_metric_of_theirs() -> None:
    (made,) = of_kind("overlays/production", "ScaledObject")
    (trigger,) = made["spec"]["triggers"]
    names = set(re.findall(r"\btollhouse_\w+", trigger["metadata"]["query"]))
    source = (ROOT / "services" / "edge" / "metrics.py").read_text()
    assert names
    assert all(f'"{name}"' in source for name in names)


def test_no_two_objects_are_the_same_thing(overlay: str) -> None:
    ids = [(made["kind"], name_of(made)) for made in objects(overlay)]
    assert len(ids) == len(set(ids))
    assert {made["metadata"].get("namespace") for made in objects(overlay) if made["kind"] != "Namespace"} == {
        "tollhouse"
    }


def test_manifests_hold_no_secret(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    assert not re.search(r"thst_|PRIVATE KEY", json.dumps(objects(overlay)))
