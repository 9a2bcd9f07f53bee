# shellcheck shell=bash
# Part of run.sh: the operator's image. What the operator does is for the cluster's tests (make e2e).

build operator one "" order-operator >"$work/operator-seconds"
echo "        build of the operator: $(cat "$work/operator-seconds") s"
operator=localhost/order-operator:operator
run_operator() { podman run --rm --read-only --cap-drop all --security-opt no-new-privileges "$operator" "$@"; }

size=$(podman image inspect --format '{{.Size}}' "$operator")
echo "        size: $size bytes"
check "the operator's is at most 15 MB" at_most "$size" 15000000
check "its user is a number" equal "$(podman image inspect --format '{{.Config.User}}' "$operator")" 65532:65532
run_operator crd >"$work/crd.yaml" 2>&1 || true
check "it runs, and prints the CRD that is installed" cmp "$work/crd.yaml" kustomize/operator/crd.yaml
check "it says what it takes" grep -q LEASE_DURATION <(run_operator --help 2>&1)
