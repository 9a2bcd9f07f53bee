#!/usr/bin/env bash
# Creates a builder image without pulling one and prints its name: a minimal Debian with a C compiler from
# debootstrap, with the installed Rust and CA certificates. Only for tests; needs root.
# The image is kept; its name contains a hash of its inputs.
set -euo pipefail

sysroot=$(cd "$(dirname "$0")/../.." && rustc --print sysroot)
# shellcheck source=/dev/null # a file of the system
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
inputs=$("$sysroot/bin/rustc" -vV; echo "$suite"; cat "$0" /etc/ssl/certs/ca-certificates.crt)
image=localhost/builder:$(sha256sum <<<"$inputs" | cut -c 1-12)
echo "$image"
! podman image exists "$image" || exit 0

echo "builder.sh: creating $image; this takes two minutes, once" >&2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates "$suite" "$root" >"$root.log" 2>&1 ||
    { cat "$root.log" >&2; exit 1; }
rm -rf "$root.log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}
# Downloads may pass a proxy whose certificate the machine trusts.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
cp -a "$sysroot"/bin/{cargo,rustc} "$root/usr/local/bin/"
cp -a "$sysroot/lib/." "$root/usr/local/lib/"
tar -C "$root" --one-file-system -c . | podman import --quiet - "$image" >/dev/null
