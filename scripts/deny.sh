#!/usr/bin/env bash
# Checks the dependencies of the service and of the operator with cargo-deny. Its advisory database is a git repository that some networks do
# not reach. There, only the check for advisories is skipped, with a warning.
set -euo pipefail

deny=$1
# Of what only tests use, versions and their number do not matter.
"$deny" --workspace --exclude interleavings --log-level error check bans licenses sources
for manifest in crates/interleavings/Cargo.toml fuzz/Cargo.toml; do
    "$deny" --manifest-path "$manifest" --config deny.toml --log-level error check licenses sources
done
echo "bans, licenses and sources: no problem found"

if output=$("$deny" --workspace --log-level error check advisories 2>&1); then
    echo "advisories: no problem found"
elif grep -qE "failed to (fetch|load) advisory database|unable to (fetch|clone)|failed to clone" <<<"$output"; then
    echo "************************************************************************" >&2
    echo "SKIPPED (1): known vulnerabilities were NOT checked." >&2
    echo "The advisory database cannot be reached from this machine." >&2
    echo "************************************************************************" >&2
else
    echo "$output" >&2
    exit 1
fi
