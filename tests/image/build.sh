# shellcheck shell=bash
# Part of run.sh: builds the image, again after a change of code, and a second time from the same sources.

# Copies the sources, so that they can be changed.
sources() { # sources DIRECTORY
    mkdir "$work/$1"
    git ls-files --cached --others --exclude-standard | tar -c --ignore-failed-read -T - | tar -x -C "$work/$1"
}
build() { # build TAG DIRECTORY OPTIONS [STAGE]: prints its duration in seconds
    local start=$SECONDS
    BUILDER=$builder IMAGE_REGISTRY=localhost IMAGE_TAG=$1 IMAGE_BUILD_OPTIONS=$3 \
        "$work/$2/scripts/image.sh" "${4:-order-service}" >"$work/$1.log" 2>&1 || { tail -n 30 "$work/$1.log" >&2; exit 1; }
    echo $((SECONDS - start))
}
binary_of() { # binary_of IMAGE FILE
    local container
    container=$(podman create "$1")
    podman cp "$container:/usr/bin/order-service" "$2"
    podman rm "$container" >/dev/null
}

sources one
full=$(build full one --no-cache)
echo "        full build: $full s"
image=localhost/order-service:full
binary_of "$image" "$work/order-service"
check "dependencies were compiled" at_most 100 "$(grep -c '^ *Compiling' "$work/full.log")"

# The help text of a metric.
changed=$(grep -rl 'by route template' "$work/one/src/telemetry") || { echo "build.sh: no text to change" >&2; exit 1; }
sed -i 's/by route template/by template of the route/' "$changed"
again=$(build changed one "")
echo "        code-only change: $again s"
binary_of localhost/order-service:changed "$work/changed"
check "a change of code compiles only the service" equal \
    "$(grep -o 'Compiling [^ ]*' "$work/changed.log" | sort | uniq -c | xargs)" "1 Compiling order-service"
check "the change is in the binary" grep -q "by template of the route" "$work/changed"
check "it takes less time than a full build" at_most "$again" $((full - 1))

sources two
build second two --no-cache >"$work/second"
echo "        full build again: $(cat "$work/second") s"
binary_of localhost/order-service:second "$work/second-binary"
sha256sum "$work/order-service" "$work/second-binary" | sed "s#$work/##; s/^/        sha256 /"
check "the same sources give the same binary" cmp "$work/order-service" "$work/second-binary"
