"""Makes the PrometheusRule of deploy/k8s from deploy/prometheus/rules.yaml; with --check, fails when it is stale."""

import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
RESOURCE = DEPLOY / "k8s" / "components" / "prometheus-operator" / "rules.yaml"
_HEAD = "# Generated from deploy/prometheus/rules.yaml by scripts/generate_rules.py; do not edit.\n"


def resource() -> str:
    """The rules as the Prometheus operator takes them."""
    made = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "tollhouse"},
        "spec": yaml.safe_load(RULES.read_text(encoding="utf-8")),
    }
    return _HEAD + yaml.safe_dump(made, sort_keys=False, width=120, allow_unicode=True)


def main() -> None:
    fresh = RESOURCE.exists() and RESOURCE.read_text(encoding="utf-8") == resource()
    if "--check" in sys.argv:
        if not fresh:
            sys.exit(f"{RESOURCE.name} is stale: run scripts/generate_rules.py and commit the result")
    elif not fresh:
        RESOURCE.write_text(resource(), encoding="utf-8")


if __name__ == "__main__":
    main()
