# shellcheck shell=bash
# Part of run.sh: the operator's image. `make e2e` tests what the operator does.

build operator one "" order-operator >"$work/operator-seconds"
echo "        build of the operator: $(cat "$work/operator-seconds") s"
operator=localhost/order-operator:operator
run_operator() { podman run --rm --read-only --cap-drop all --security-opt no-new-privileges "$operator" "$@"; }

size=$(podman image inspect --format '{{.Size}}' "$operator")
echo "        size: $size bytes"
check "the operator's image is at most 15 MB" at_most "$size" 15000000
check "the operator's user is numeric" equal "$(podman image inspect --format '{{.Config.User}}' "$operator")" 65532:65532
run_operator crd >"$work/crd.yaml" 2>&1 || true
check "the operator prints the CRD of the manifests" cmp "$work/crd.yaml" kustomize/operator/crd.yaml
check "the operator's help lists its settings" grep -q LEASE_DURATION <(run_operator --help 2>&1)
