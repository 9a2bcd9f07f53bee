#!/usr/bin/env bash
# Installs the tools for checking manifests into the directory given: two Python environments in fixed
# versions, Helm, and promtool from Debian's package. Tools that are already installed are kept.
set -euo pipefail

root=$1
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root"
root=$(cd "$root" && pwd)

"$here/scripts/python-env.sh" "$root/manifests" "$here/tests/manifests/requirements.txt"
"$here/scripts/python-env.sh" "$root/checkov" "$here/tests/manifests/requirements-checkov.txt"
"$root/manifests/bin/python" "$here/scripts/helm.py" "$root/helm"

# Unpack promtool and prometheus instead of installing the package, which would start a server.
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

# kubectl renders the manifests. Debian's package `kubernetes-client` supports neither components nor
# replacements, and other registries have only third-party packages.
if ! command -v kubectl >/dev/null; then
    echo "************************************************************************" >&2
    echo "kubectl is missing: the manifests are NOT rendered, and their checks are" >&2
    echo "SKIPPED. Install kubectl 1.29 or later from pkgs.k8s.io." >&2
    echo "************************************************************************" >&2
fi
