#!/usr/bin/env bash
# Creates a kind cluster for `make e2e`, with its configuration in target/kind/kubeconfig. It has the images of
# this checkout, a second time under the tag to which the tests upgrade, and a PostgreSQL at postgres.e2e-database.
# Needs kind, kubectl and docker. Delete it with `kind delete cluster --name order-service`.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in kind kubectl docker; do
    command -v "$tool" >/dev/null || { echo "kind.sh: $tool is missing" >&2; exit 1; }
done
export KUBECONFIG=$PWD/target/kind/kubeconfig IMAGE_TOOL=docker
mkdir -p target/kind

kind get clusters | grep -qx order-service || kind create cluster --name order-service --wait 2m
for tag in e2e e2e-next; do
    IMAGE_TAG=$tag scripts/image.sh "$@"
    for image in "$@"; do
        kind load docker-image --name order-service "registry.example.com/$image:$tag"
    done
done

kubectl create namespace e2e-database --dry-run=client -o yaml | kubectl apply -f -
kubectl -n e2e-database get pod postgres >/dev/null 2>&1 ||
    kubectl -n e2e-database run postgres --image=docker.io/library/postgres:17 --env=POSTGRES_PASSWORD=e2e --port=5432 --expose
kubectl -n e2e-database wait pod/postgres --for=condition=Ready --timeout=2m
