"""Who may speak to whom in the cluster: the arrows of the picture in docs/ARCHITECTURE.md, each at both of its ends."""

from typing import Any

import pytest

from tests.deploy.manifests import COMPONENT, OVERLAYS, Workload, fits, name_of, of_kind, workloads

PICTURE = {
    ("edge", "auth", 7001),
    ("edge", "router", 7002),
    ("edge", "ledger", 7003),
    ("edge", "nats", 4222),
    ("console", "auth", 7001),
    ("console", "router", 7002),
    ("console", "ledger", 7003),
    ("console", "postgres", 5432),
    ("operator", "auth", 7001),
    ("operator", "router", 7002),
    ("operator", "ledger", 7003),
    ("operator", "nats", 4222),
    ("operator", "postgres", 5432),
    ("auth", "ledger", 7003),
    ("auth", "nats", 4222),
    ("auth", "postgres", 5432),
    ("router", "nats", 4222),
    ("router", "postgres", 5432),
    ("ledger", "nats", 4222),
    ("ledger", "postgres", 5432),
    ("migrate", "postgres", 5432),
    ("nats", "nats", 6222),
}
MORE = {
    "overlays/dev": {("edge", "simulator", 7010), ("router", "simulator", 7010)},
    "overlays/production": {
        *(
            (service, "collector", port)
            for service in ("edge", "auth", "router", "ledger", "console")
            for port in (4317, 4318)
        ),
        ("postgres", "postgres", 5432),
        ("postgres", "postgres", 8000),
    },
}
OUTWARD = {"edge", "router", "console"}
"""They reach the internet: upstream accounts, payment providers, single sign-on."""
FROM_OUTSIDE = {("edge", 8080), ("console", 8090)}

pytestmark = pytest.mark.parametrize("overlay", OVERLAYS)


def components(overlay: str, selector: dict[str, Any]) -> set[str]:
    """Which components have pods that a selector finds; CloudNativePG's are known by their labels only."""
    found = {one.labels[COMPONENT] for one in workloads(overlay) if fits(selector, one.labels)}
    postgres = {"app.kubernetes.io/name": "tollhouse", COMPONENT: "postgres"}
    return found | ({"postgres"} if fits(selector, postgres) else set())


def halves(overlay: str, direction: str, peers: str) -> set[tuple[str, str, int]]:
    """The arrows between pods here that the rules of one direction allow: whose rule it is first."""
    found = set()
    for policy in of_kind(overlay, "NetworkPolicy"):
        for rule in policy["spec"].get(direction, ()):
            for peer in rule.get(peers, ()):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    for own in components(overlay, policy["spec"]["podSelector"]):
                        for other in components(overlay, peer["podSelector"]):
                            found |= {(own, other, port["port"]) for port in rule["ports"]}
    return found


def test_every_arrow_of_the_picture_is_open_at_both_ends_and_no_other(overlay: str) -> None:
    expected = PICTURE | MORE.get(overlay, set())
    assert halves(overlay, "egress", "to") == expected
    assert {(a, b, port) for b, a, port in halves(overlay, "ingress", "from")} == expected


def test_every_arrow_ends_at_a_port_that_is_listened_to(overlay: str) -> None:
    listening: dict[str, Workload] = {workload.labels[COMPONENT]: workload for workload in workloads(overlay)}
    for _, end, port in PICTURE | MORE.get(overlay, set()):
        if end in listening:
            assert port in listening[end].ports.values()


def test_who_is_told_where_a_store_is_may_speak_to_it(overlay: str) -> None:
    there = halves(overlay, "egress", "to")
    for workload in workloads(overlay):
        for name in workload.environment:
            for variable, store, port in (("_NATS_URL", "nats", 4222), ("_DATABASE_URL", "postgres", 5432)):
                if name.removesuffix("_FILE").endswith(variable):
                    assert (workload.labels[COMPONENT], store, port) in there, f"{workload.name}: {name}"


def test_nothing_is_open_by_default(overlay: str) -> None:
    (policy,) = [one for one in of_kind(overlay, "NetworkPolicy") if name_of(one) == "deny-all"]
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_policy_judges_the_directions_that_it_has_rules_for(overlay: str) -> None:
    for policy in of_kind(overlay, "NetworkPolicy"):
        types = set(policy["spec"]["policyTypes"])
        if name_of(policy) != "deny-all":
            assert types == {kind for kind in ("Ingress", "Egress") if kind.lower() in policy["spec"]}


def test_only_those_who_must_reach_the_internet_and_nothing_that_is_private(overlay: str) -> None:
    outward = set()
    for policy in of_kind(overlay, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            blocks = [peer["ipBlock"] for peer in rule.get("to", ()) if "ipBlock" in peer]
            if blocks:
                outward |= components(overlay, policy["spec"]["podSelector"])
                assert [port["port"] for port in rule["ports"]] == [443]
                assert {"10.0.0.0/8", "169.254.0.0/16"} <= {net for block in blocks for net in block["except"]}
    assert outward == OUTWARD


def test_only_the_edge_and_the_console_are_reached_from_everywhere(overlay: str) -> None:
    found = set()
    for policy in of_kind(overlay, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", ()):
            if not rule.get("from"):
                for own in components(overlay, policy["spec"]["podSelector"]):
                    found |= {(own, port["port"]) for port in rule["ports"]}
    assert found == FROM_OUTSIDE
