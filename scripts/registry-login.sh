#!/usr/bin/env bash
# Logs podman, Helm and cosign in to IMAGE_REGISTRY as REGISTRY_USER with REGISTRY_PASSWORD, for scripts/release.sh.
set -euo pipefail
host=${IMAGE_REGISTRY:?is not set}
host=${host%%/*}
: "${REGISTRY_USER:?is not set}" "${REGISTRY_PASSWORD:?is not set}"
# Standard input: an argument is visible to every process of the machine.
printf %s "$REGISTRY_PASSWORD" | podman login --username "$REGISTRY_USER" --password-stdin "$host"
printf %s "$REGISTRY_PASSWORD" | helm registry login --username "$REGISTRY_USER" --password-stdin "$host"
printf %s "$REGISTRY_PASSWORD" | cosign login --username "$REGISTRY_USER" --password-stdin "$host"
