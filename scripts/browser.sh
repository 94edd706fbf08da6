#!/bin/sh
# Installs what the browser tests need: Playwright into .venv, and Chromium from the system's packages.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements-browser.lock
for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get install --yes --no-install-recommends chromium
    exit 0
fi
echo "Please install Chromium with your system's packages, or name one in CHROMIUM." >&2
exit 1
