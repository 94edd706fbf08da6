#!/bin/sh
# Compares the locked packages with the advisories that the package index and OSV know of, and fails on the first one;
# then fails where a package that runs has a licence which Apache-2.0 cannot be distributed with. The tools stay out of the
# lock: what looks for faults of the packages should not bring any.
set -eu
cd "$(dirname "$0")/.."
tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" --quiet install "pip-audit==2.10.1"
.venv/bin/python scripts/licences.py
for lock in requirements.lock requirements-dev.lock; do
    "$tools/bin/pip-audit" --require-hashes --disable-pip --vulnerability-service "${AUDIT_SERVICE:-osv}" -r "$lock"
done
