#!/usr/bin/env bash
# Builds the images with podman, in a builder image that it creates itself, and tests them. Needs root and a
# quarter of an hour on two cores, so `make test` does not run it. Keeps its builder in target/image-test and
# leaves nothing else behind. The last line is "N passed, M failed, K skipped".
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD
export REVISION=image-test LC_ALL=C

passed=0 failed=0
check() { # check WHAT COMMAND…
    local what=$1
    shift
    if "$@" >"$work/output" 2>&1; then
        passed=$((passed + 1)) && echo "ok      $what"
    else
        failed=$((failed + 1)) && echo "FAILED  $what" && tail -n 20 "$work/output"
    fi
}
equal() { [ "$1" = "$2" ] || { echo "found $1, expected $2"; return 1; }; }
at_most() { [ "$1" -le "$2" ] || { echo "$1 is more than $2"; return 1; }; }

work=$(mktemp -d)
chmod 711 "$work"
containers=()
clean() {
    # Continue with the clean-up after an error.
    set +e
    [ -z "${dns:-}" ] || kill "$dns" 2>/dev/null
    [ ! -e "$work/pg/port" ] || scripts/postgres.sh stop "$work/pg"
    # Only in the storage of this test, never in the machine's.
    if [ -n "${builder_id:-}" ]; then
        [ ${#containers[@]} = 0 ] || podman rm --force --time 0 "${containers[@]}" >/dev/null 2>&1
        podman volume rm --force image-test >/dev/null 2>&1
        podman images --all --quiet --no-trunc | grep -vxF "$builder_id" | xargs -r podman rmi --force >/dev/null 2>&1
    fi
    rm -rf "$work"
}
trap clean EXIT

skip_all() {
    echo "************************************************************************" >&2
    echo "The image was NOT built and NOT tested: $1." >&2
    echo "************************************************************************" >&2
    echo "0 passed, 0 failed, $(grep -cE '^ *check "' "$here"/tests/image/*.sh | awk -F: '{n += $2} END {print n}') skipped"
    exit 0
}
[ "$(id -u)" = 0 ] || skip_all "this needs root, for debootstrap"
for tool in podman debootstrap openssl curl readelf; do
    command -v "$tool" >/dev/null || skip_all "$tool is missing (Debian: apt-get install podman runc debootstrap openssl curl binutils)"
done

# A separate storage, so that the machine's images are neither touched nor measured. The host's network,
# because the database listens on its loopback interface.
storage=$here/target/image-test
mkdir -p "$storage"
cat >"$work/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$storage/images"
runroot = "$storage/run"
CONF
settings() { # settings RUNTIME
    cat >"$work/containers.conf" <<CONF
[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "$1"
CONF
}
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
settings runc
builder=$(tests/image/builder.sh) || skip_all "the builder image could not be created"
builder_id=$(podman image inspect --format 'sha256:{{.Id}}' "$builder")
# Not every runtime works with the cgroups of every machine.
for runtime in crun runc none; do
    settings "$runtime"
    ! podman run --rm --memory 128m "$builder" true 2>"$work/runtime.log" || break
done
[ "$runtime" != none ] || skip_all "podman cannot run containers here: $(tail -n 1 "$work/runtime.log")"

# shellcheck source=tests/image/build.sh
. tests/image/build.sh
# shellcheck source=tests/image/contents.sh
. tests/image/contents.sh
# shellcheck source=tests/image/serve.sh
. tests/image/serve.sh
# shellcheck source=tests/image/operator.sh
. tests/image/operator.sh

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
