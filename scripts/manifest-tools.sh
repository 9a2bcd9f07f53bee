#!/usr/bin/env bash
# Installs what the checks of the manifests need into the directory given: two Python environments in
# fixed versions, and promtool from Debian's package. What is there already is kept.
set -euo pipefail

root=$1
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root"
root=$(cd "$root" && pwd)

"$here/scripts/python-env.sh" "$root/manifests" "$here/tests/manifests/requirements.txt"
"$here/scripts/python-env.sh" "$root/checkov" "$here/tests/manifests/requirements-checkov.txt"

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

# Nothing renders without kubectl, and it cannot be installed from here: Debian's package
# `kubernetes-client` knows neither components nor replacements, and what other registries carry was
# repackaged by strangers.
if ! command -v kubectl >/dev/null; then
    echo "************************************************************************" >&2
    echo "There is no kubectl here: the manifests will NOT be rendered, and their" >&2
    echo "checks are SKIPPED. Install kubectl 1.29 or later from pkgs.k8s.io." >&2
    echo "************************************************************************" >&2
fi
