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
auth=$(mktemp -d)
trap 'rm -rf "$auth"' EXIT
# The key is on standard error, its entry on standard output.
key=$(target/debug/order-service api-key --id browser --scopes orders:read,orders:write 2>&1 >"$auth/auth.toml")
AUTH_FILE=$auth/auth.toml KEY=$key ARTEFACTS=$PWD/target/artefacts scripts/server.sh with node --test "$root/browser/docs.test.mjs"
