#!/bin/sh
# Checks what Tollhouse is deployed by: the Dockerfile, docker-compose.yml and deploy/k8s. No engine and no cluster is
# needed. The tools have an environment of their own, for they pin what ours does not.
set -eu
cd "$(dirname "$0")/.."
tools=.venv-deploy
if ! cmp -s requirements-deploy.lock "$tools/.installed-lock"; then
    "${PYTHON:-python3}" -m venv "$tools"
    "$tools/bin/python" -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements-deploy.lock
    cp requirements-deploy.lock "$tools/.installed-lock"
fi
if ! PATH="$PATH:/usr/sbin" command -v haproxy >/dev/null 2>&1; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get install --yes --no-install-recommends haproxy
    else
        echo "Please install HAProxy with your system's packages." >&2
        exit 1
    fi
fi

echo "Dockerfile"
"$tools/bin/hadolint" --failure-threshold info Dockerfile
"$tools/bin/checkov" --config-file deploy/checkov.yaml --framework dockerfile --file Dockerfile

echo "Kubernetes"
rendered="$(mktemp -d)"
trap 'rm -rf "$rendered"' EXIT
for overlay in overlays/dev overlays/production; do
    "$tools/bin/kubectl" kustomize "deploy/k8s/$overlay" >"$rendered/$(basename "$overlay").yaml"
done
# The oldest version that is still maintained, and the newest. What is of operators has no schema here: their own
# admission judges it, and tests/deploy what of it is ours.
for version in 1.35.0 1.37.0; do
    "$tools/bin/kubernetes-validate" --strict --no-warn --quiet --kubernetes-version "$version" "$rendered"/*.yaml
done
"$tools/bin/checkov" --config-file deploy/checkov.yaml --framework kubernetes --directory "$rendered"

echo "Tests"
.venv/bin/pytest tests/deploy -q
