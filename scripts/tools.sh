#!/usr/bin/env bash
# Compiles tools in fixed versions into the directory given: tools.sh DIRECTORY test|lint|sbom|fuzz.
# A tool that is already installed in that version is kept.
set -euo pipefail

root=$1

tool() { # tool CRATE VERSION [cargo install options…]
    local crate=$1 version=$2
    shift 2
    if ! grep -qs "\"$crate $version " "$root/.crates.toml"; then
        echo "tools.sh: compiling $crate $version; this takes some minutes, once" >&2
        # An installation that was interrupted leaves the program, but not its entry in .crates.toml.
        CARGO_TARGET_DIR="$root/build" cargo install --quiet --locked --force --root "$root" "$crate" --version "$version" "$@"
    fi
}

case "${2:-}" in
test)
    # The tests run this tool a few times on small databases, so an optimised build would cost more than it saves.
    CARGO_PROFILE_DEV_DEBUG=false tool diesel_cli 2.3.14 --debug --no-default-features --features postgres,sqlite-bundled
    ;;
lint)
    tool cargo-deny 0.20.2
    tool cargo-machete 0.9.2
    ;;
fuzz) tool cargo-fuzz 0.13.2 ;;
sbom) tool cargo-cyclonedx 0.5.9 ;;
*) sed -n '2,3s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
