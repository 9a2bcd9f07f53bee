#!/usr/bin/env bash
# Installs tools in fixed versions into the directory given: tools.sh DIRECTORY test|sbom. What is there
# already is kept, so only the first run compiles.
set -euo pipefail

root=$1

tool() { # tool CRATE VERSION [cargo install options…]
    local crate=$1 version=$2
    shift 2
    if ! grep -qs "\"$crate $version " "$root/.crates.toml"; then
        echo "tools.sh: compiling $crate $version; once, this takes some minutes" >&2
        CARGO_TARGET_DIR="$root/build" cargo install --quiet --locked --root "$root" "$crate" --version "$version" "$@"
    fi
}

case "${2:-}" in
test)
    tool diesel_cli 2.3.14 --no-default-features --features postgres,sqlite-bundled
    tool cargo-deny 0.20.2
    tool cargo-machete 0.9.2
    ;;
sbom) tool cargo-cyclonedx 0.5.9 ;;
*) sed -n '2,3s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
