#!/usr/bin/env bash
# Tests /docs in headless Chromium. The screenshot is kept in target/artefacts.
set -euo pipefail
root=$1
cargo build --quiet --bin order-service
mkdir -p "$root/browser" target/artefacts
cp tests/browser/package.json "$root/browser/"
if [ ! -d "$root/browser/node_modules/playwright-core" ]; then
    npm install --silent --no-audit --no-fund --prefix "$root/browser"
fi
# Node resolves modules relative to the script.
cp tests/browser/docs.test.mjs "$root/browser/"
SCOPES=orders:read,orders:write ARTEFACTS=$PWD/target/artefacts scripts/server.sh with node --test "$root/browser/docs.test.mjs"
