"""What Prometheus is told in Kubernetes is what deploy/prometheus says."""

import subprocess
import sys

from tests.deployment import ROOT


def test_the_rules_of_the_prometheus_operator_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_rules.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
