#!/usr/bin/env bash
# Runs the operator's end-to-end tests against the cluster in KUBECONFIG, in their own namespaces.
#
#   e2e.sh [pytest arguments]            the tests
#   e2e.sh figures [pytest arguments]    memory, time and writes of the binary, built as for the image
#
# Nodes are not needed: the suite simulates missing controllers and kubelets. With nodes, set E2E_IMAGE and
# E2E_NEXT_IMAGE to images that they can pull, and E2E_DATABASE_URL to a PostgreSQL that pods can reach.
# Without KUBECONFIG every test is skipped, and counted as skipped. TOOLS is the directory for the Python
# environment (target/tools). The last line is "N passed, M failed, K skipped".
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
    # Small and static, as the Containerfile builds it.
    host=$(rustc -vV | sed -n 's/^host: //p')
    build=(env CARGO_BUILD_RUSTFLAGS="-C target-feature=+crt-static" "${build[@]}" --profile operator --target "$host")
    built=${CARGO_TARGET_DIR:-target}/$host/operator
fi

environment=$tools/e2e
scripts/python-env.sh "$environment" "$suite/requirements.txt"

# Without a cluster nothing is started, so nothing has to be built.
if [ -n "${KUBECONFIG:-}" ] && [ -z "${OPERATOR:-}" ]; then
    "${build[@]}"
    OPERATOR=$built/order-operator
fi
if [ -n "${OPERATOR:-}" ]; then
    OPERATOR=$(realpath "$OPERATOR")
    export OPERATOR
fi
exec "$environment/bin/python" -B -m pytest -c "$suite/pytest.ini" "${select[@]}" "$suite" "$@"
