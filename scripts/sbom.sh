#!/bin/sh
# Writes the software bill of materials of what runs, with hashes, from the lock file alone.
set -eu
cd "$(dirname "$0")/.."
tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" --quiet install "cyclonedx-bom==7.5.0"
"$tools/bin/cyclonedx-py" requirements --pyproject pyproject.toml --output-reproducible \
    --output-format JSON --output-file sbom.cdx.json requirements.lock
echo "sbom.cdx.json"
