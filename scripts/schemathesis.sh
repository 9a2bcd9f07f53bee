#!/usr/bin/env bash
# Runs schemathesis, which searches for responses that contradict the OpenAPI document, on SQLite and on the
# PostgreSQL in TEST_DATABASE_URL.
set -euo pipefail
root=$1
version=4.32.5
if [ "$("$root/schemathesis/bin/schemathesis" --version 2>/dev/null)" != "schemathesis, version $version" ]; then
    python3 -m venv "$root/schemathesis"
    "$root/schemathesis/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi
cargo build --quiet --bin order-service

# Requests need a credential, so that the checks of missing and invalid ones apply.
export SCOPES=orders:read,orders:write,events:read,admin
export SCHEMATHESIS_HOOKS=tests/schemathesis_hooks.py
check() {
    # All checks, all phases; tests/schemathesis.toml has the exceptions and their reasons.
    # shellcheck disable=SC2016 # SERVER is for the inner shell
    scripts/server.sh with bash -c '"$0" --config-file tests/schemathesis.toml run "$SERVER/openapi.json" --checks all' \
        "$root/schemathesis/bin/schemathesis"
}
DATABASE_URL=sqlite::memory: check
DATABASE_URL=${TEST_DATABASE_URL:?run this by: scripts/postgres.sh with} check
