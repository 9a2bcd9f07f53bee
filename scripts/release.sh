#!/usr/bin/env bash
# The steps of a release after `make image` and `make sbom`: release.sh check|scan|push|sign NAME…
#
#   check   the tag of this commit, Cargo.toml, the charts and CHANGELOG.md have the same version
#   scan    fails if an image has a known vulnerability that is high or critical and has a correction
#   push    pushes images and charts, and writes their digests to target/release
#   sign    signs what was pushed, and attaches the SBOM of each image
#
# Environment: IMAGE_REGISTRY (as for image.sh); COSIGN_KEY, a file or the URL of a KMS, to sign with a key instead of
# the identity of the pipeline. Charts go to IMAGE_REGISTRY/charts. Log in first: `make registry-login`.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
cd "$(dirname "$0")/.."
step=$1
shift

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
registry=${IMAGE_REGISTRY:-registry.example.com}
out=target/release
mkdir -p "$out"

need() { # need TOOL
    command -v "$1" >/dev/null || { echo "release.sh: $1 is missing" >&2; exit 1; }
}

digest_of() { # digest_of NAME
    local digest
    digest=$(cat "$out/$1.digest" 2>/dev/null || true)
    [[ "$digest" =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "release.sh: $1 has no digest: push first" >&2; exit 1; }
    echo "$digest"
}

case "$step" in
check)
    tag=$(git tag --points-at HEAD | grep -Fx "v$version" || true)
    [ -n "$tag" ] || { echo "release.sh: this commit has no tag v$version" >&2; exit 1; }
    grep -q "^## $version" CHANGELOG.md || { echo "release.sh: CHANGELOG.md has no section $version" >&2; exit 1; }
    for name in "$@"; do
        grep -qx "version: $version" "charts/$name/Chart.yaml" || { echo "release.sh: chart $name: run make charts" >&2; exit 1; }
    done
    [ -z "$(git status --porcelain)" ] || { echo "release.sh: the checkout is not clean" >&2; exit 1; }
    ;;
scan)
    need podman
    need trivy
    for name in "$@"; do
        rm -f "$out/$name.tar"
        podman save --quiet --format oci-archive --output "$out/$name.tar" "$registry/$name:$version"
        # The list of crates in the binary is read (cargo-auditable). Without a correction nobody can act.
        trivy image --input "$out/$name.tar" --scanners vuln --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1
        rm -f "$out/$name.tar"
    done
    ;;
push)
    need podman
    need helm
    for name in "$@"; do
        podman push --digestfile "$out/$name.digest" "$registry/$name:$version"
        digest_of "$name" >/dev/null
        helm package "charts/$name" --destination "$out"
        # Helm prints the digest to standard error or output, depending on its version.
        helm push "$out/$name-$version.tgz" "oci://$registry/charts" 2>&1 | tee "$out/$name.push"
        sed -n 's/^Digest: *//p' "$out/$name.push" >"$out/charts-$name.digest"
        digest_of "charts-$name" >/dev/null
    done
    ;;
sign)
    need cosign
    key=()
    [ -z "${COSIGN_KEY:-}" ] || key=(--key "$COSIGN_KEY")
    for name in "$@"; do
        image=$registry/$name@$(digest_of "$name")
        chart=$registry/charts/$name@$(digest_of "charts-$name")
        cosign sign --yes "${key[@]}" "$image"
        cosign attest --yes "${key[@]}" --type cyclonedx --predicate "target/sbom/$name.cdx.json" "$image"
        cosign sign --yes "${key[@]}" "$chart"
        echo "release.sh: signed $image and $chart"
    done
    ;;
*) echo "release.sh: unknown step $step" >&2 && exit 2 ;;
esac
