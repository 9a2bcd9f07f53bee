#!/usr/bin/env bash
# Builds images with the first of podman, buildah and docker that works: image.sh STAGE…
# (order-service, order-operator). Environment:
#
#   IMAGE_REGISTRY       prefix of the image's name (registry.example.com)
#   IMAGE_TAG            tag (the version in Cargo.toml)
#   BUILDER              another image to build in
#   IMAGE_TOOL           podman, buildah or docker
#   IMAGE_BUILD_OPTIONS  more options of `build`
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
revision=${REVISION:-$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)}

# `info` fails if the command exists without a running daemon.
for tool in ${IMAGE_TOOL:-podman buildah docker} none; do
    ! "$tool" info >/dev/null 2>&1 || break
done
case "$tool" in
buildah) build=(buildah build --layers) ;;
none)
    echo "image.sh: no working podman, buildah or docker here (Debian: apt-get install podman)" >&2
    exit 1
    ;;
*) build=("$tool" build) ;;
esac
# Cache mounts need BuildKit, which is not the default of older versions of docker.
export DOCKER_BUILDKIT=1

read -ra options <<<"${IMAGE_BUILD_OPTIONS:-}"
[ -z "${BUILDER:-}" ] || options+=(--build-arg "BUILDER=$BUILDER")
for stage in "$@"; do
    image=${IMAGE_REGISTRY:-registry.example.com}/$stage:${IMAGE_TAG:-$version}
    "${build[@]}" --file Containerfile --target "$stage" --build-arg "REVISION=$revision" \
        --label "org.opencontainers.image.version=$version" --tag "$image" "${options[@]}" .
    echo "image.sh: built $image"
done
