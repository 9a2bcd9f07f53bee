#!/usr/bin/env bash
# Renders the manifests and checks them, the alerts, the dashboard and the documents. Arguments go to pytest
# (`tests/manifests/run.sh -k migrate`). The last line is "N passed, M failed, K skipped".
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/target/tools}

scripts/manifest-tools.sh "$tools"
# Delete the results of earlier runs.
rm -rf target/manifests
TOOLS=$tools exec "$tools/manifests/bin/python" -B -m pytest -c tests/manifests/pytest.ini -p no:cacheprovider tests/manifests "$@"
