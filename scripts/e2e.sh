#!/usr/bin/env bash
# Runs the operator end to end against the cluster that KUBECONFIG names, in namespaces of its own.
#
#   e2e.sh [pytest arguments]            all that is told pass or fail
#   e2e.sh figures [pytest arguments]    memory, time and writes, with the binary as the image has it
#
# Nodes are not needed: what the cluster lacks, controllers or kubelets, the suite plays. With nodes set
# E2E_IMAGE and E2E_NEXT_IMAGE to images that they can pull and E2E_DATABASE_URL to a PostgreSQL that pods
# reach. Without KUBECONFIG everything is skipped, says so, and counts. TOOLS is where the Python
# environment goes (target/tools). Ends with a line "N passed, M failed, K skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${TOOLS:-$PWD/target/tools}
suite=operator/tests/e2e

select=(-m "not figures")
build=(cargo build --quiet -p order-operator)
built=${CARGO_TARGET_DIR:-target}/debug
if [ "${1:-}" = figures ]; then
    shift
    select=(-m figures -s)
    # As the Containerfile builds it: small, and static.
    host=$(rustc -vV | sed -n 's/^host: //p')
    build=(env CARGO_BUILD_RUSTFLAGS="-C target-feature=+crt-static" "${build[@]}" --profile operator --target "$host")
    built=${CARGO_TARGET_DIR:-target}/$host/operator
fi

environment=$tools/e2e
scripts/python-env.sh "$environment" "$suite/requirements.txt"

# Without a cluster nothing is started, so nothing need be built.
if [ -n "${KUBECONFIG:-}" ] && [ -z "${OPERATOR:-}" ]; then
    "${build[@]}"
    OPERATOR=$built/order-operator
fi
if [ -n "${OPERATOR:-}" ]; then
    OPERATOR=$(realpath "$OPERATOR")
    export OPERATOR
fi
exec "$environment/bin/python" -B -m pytest -c "$suite/pytest.ini" "${select[@]}" "$suite" "$@"
