#!/usr/bin/env bash
# Checks openapi.json with the linters of Redocly and Spectral. Generates clients from it in TypeScript,
# Python and Rust, compiles them and runs each against the service on SQLite. TOOLS is the directory for
# the tools (target/tools). Nothing generated is kept. Ends with a line "N passed, M failed, K skipped".
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
tools=${TOOLS:-$root/target/tools}/openapi
work=$root/target/openapi
here=$root/tests/openapi

passed=0 failed=0 skipped=0
skip() { # skip NUMBER REASON
    skipped=$((skipped + $1))
    echo "SKIPPED ($1): $2" >&2
}
check() { # check NAME COMMAND…
    local name=$1
    shift
    echo "openapi: $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name" >&2
    fi
}
# Whether a directory was made from exactly these files. `made` records that it was.
is_made() { # is_made DIRECTORY FILE…
    local directory=$1
    shift
    cat "$@" | cmp -s - "$directory/.made-from"
}
made() {
    local directory=$1
    shift
    cat "$@" > "$directory/.made-from"
}

npm_tools() {
    local files=("$here/package.json" "$here/package-lock.json")
    is_made "$tools/npm" "${files[@]}" && return
    rm -rf "$tools/npm"
    mkdir -p "$tools/npm"
    cp "${files[@]}" "$here/.npmrc" "$tools/npm/"
    (cd "$tools/npm" && npm ci --silent) && made "$tools/npm" "${files[@]}"
}
python_tools() {
    is_made "$tools/python" "$here/requirements.txt" && return
    rm -rf "$tools/python"
    python3 -m venv "$tools/python" \
        && "$tools/python/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" \
        && made "$tools/python" "$here/requirements.txt"
}

# Redocly supports Node.js 20.19 or later.
node_is_new() {
    node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 19) ? 0 : 1)'
}
redocly() {
    REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true \
        "$tools/npm/node_modules/.bin/redocly" lint --config "$here/redocly.yaml" openapi.json
}
spectral() {
    "$tools/npm/node_modules/.bin/spectral" lint --fail-severity=hint --ruleset "$here/spectral.yaml" openapi.json
}

typescript() {
    local directory=$work/typescript
    rm -rf "$directory"
    mkdir -p "$directory"
    cp "$here/client.ts" "$here/tsconfig.json" "$here/package.json" "$directory/"
    # Node.js looks for modules beside the script.
    ln -s "$tools/npm/node_modules" "$directory/node_modules"
    (
        cd "$directory" \
            && node_modules/.bin/openapi-typescript "$root/openapi.json" --output api.d.ts \
            && node_modules/.bin/tsc
    ) && scripts/server.sh with node "$directory/out/client.js"
}
python() {
    local directory=$work/python
    rm -rf "$directory"
    mkdir -p "$directory"
    cp "$here/client.py" "$directory/"
    "$tools/python/bin/openapi-python-client" generate --fail-on-warning --meta none --path openapi.json \
        --config "$here/python-client.yaml" --output-path "$directory/order_service_client" \
        && (cd "$directory" && "$tools/python/bin/mypy" --strict --no-error-summary client.py) \
        && scripts/server.sh with "$tools/python/bin/python" -B "$directory/client.py"
}
rust() {
    OPENAPI=$root/openapi.json cargo build --quiet --locked --manifest-path "$here/rust/Cargo.toml" --target-dir "$work/rust" \
        && scripts/server.sh with "$work/rust/debug/order-service-client"
}

cargo build --quiet --bin order-service
mkdir -p "$tools" "$work"
if ! { command -v npm && command -v node; } >/dev/null; then
    skip 3 "there is no npm and Node.js"
elif ! npm_tools; then
    skip 3 "npm cannot install the linters and the TypeScript generator"
else
    if node_is_new; then
        check "lint with Redocly" redocly
    else
        skip 1 "Redocly needs Node.js 20.19 or later, this is $(node --version)"
    fi
    check "lint with Spectral" spectral
    check "generate, compile and use the TypeScript client" typescript
fi
if python_tools; then
    check "generate, compile and use the Python client" python
else
    skip 1 "pip cannot install the Python generator"
fi
check "generate, compile and use the Rust client" rust
echo "openapi: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
