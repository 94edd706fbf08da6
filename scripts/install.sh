#!/bin/sh
# Installs Tollhouse, editable, with its locked dependencies and tools into .venv.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Tollhouse needs Python 3.11 or later; '$python' is $("$python" --version 2>&1). Say which with PYTHON=..." >&2
    exit 1
}
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv .venv || {
        echo "'$python' cannot make virtual environments: on Debian and Ubuntu, apt install python3-venv" >&2
        exit 1
    }
fi
pip=".venv/bin/python -m pip --quiet --disable-pip-version-check"
$pip install --require-hashes -r requirements-dev.lock
$pip install --no-deps --no-build-isolation --editable .
# The tests speak through two generations of one SDK; the older lives in a folder of its own.
$pip install --require-hashes --upgrade --target .venv/sdk1 -r requirements-sdk1.lock
# They speak through the official Node SDKs too. npm begins by deleting what is there, so only where the lock changed.
node=tests/node
if ! cmp -s $node/package-lock.json $node/node_modules/.installed-lock; then
    PATH="$PWD/.venv/bin:$PATH" npm ci --prefix $node --silent
    cp $node/package-lock.json $node/node_modules/.installed-lock
fi
