#!/usr/bin/env bash
# Runs tests/nodes against the cluster in KUBECONFIG, which must have nodes: the manifests and the operator with real
# pods, under load.
#
#   e2e-nodes.sh [pytest arguments]
#
# Without KUBECONFIG, or without ready nodes, every test is skipped, and counted as skipped. Environment:
#
#   IMAGE_LOADER       command that loads an image archive into the nodes; the path of the archive is appended. For
#                      kind: "kind load image-archive --name order-service". With it, the images of this checkout are
#                      built and loaded under the tags dev, e2e and e2e-next. Without it, the nodes must have them.
#   IMAGE_TOOL         podman (default) or docker
#   E2E_LOAD_IMAGE     image with Perl for the clients (that of the database in kustomize/components/postgres)
#   E2E_LOAD_CLIENTS   number of clients (20)
#   E2E_LOAD_PAUSE_MS  milliseconds between two requests of a client (5)
#
# The nodes need DNS, a default StorageClass and the image of the database. The tests install the operator and its CRD,
# and remove them afterwards. They fail if order-service-dev or order-operator-system exists already. The figures are in
# target/e2e-nodes.json. The last line is "N passed, M failed, K skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${TOOLS:-$PWD/target/tools}
suite=tests/nodes

environment=$tools/e2e
scripts/python-env.sh "$environment" operator/tests/e2e/requirements.txt

if [ -n "${KUBECONFIG:-}" ]; then
    command -v kubectl >/dev/null || { echo "e2e-nodes.sh: kubectl is missing" >&2; exit 1; }
    if [ -n "${IMAGE_LOADER:-}" ]; then
        export IMAGE_TOOL=${IMAGE_TOOL:-podman}
        read -ra loader <<<"$IMAGE_LOADER"
        archives=$(mktemp -d)
        trap 'rm -rf "$archives"' EXIT
        for name in order-service order-operator; do
            images=()
            for tag in dev e2e e2e-next; do
                IMAGE_TAG=$tag scripts/image.sh "$name"
                images+=("${IMAGE_REGISTRY:-registry.example.com}/$name:$tag")
            done
            "$IMAGE_TOOL" save --output "$archives/$name.tar" "${images[@]}"
            "${loader[@]}" "$archives/$name.tar"
        done
    fi
fi
"$environment/bin/python" -B -m pytest -c "$suite/pytest.ini" "$suite" "$@"
