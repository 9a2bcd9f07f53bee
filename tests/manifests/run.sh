#!/usr/bin/env bash
# Renders the manifests and checks them, the alerts and the dashboard. Arguments go to pytest
# (`tests/manifests/run.sh -k migrate`). Ends with a line "N passed, M failed, K skipped".
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/target/tools}

scripts/manifest-tools.sh "$tools"
# Results of earlier runs; the directory may hold nothing else.
rm -rf target/manifests
TOOLS=$tools exec "$tools/manifests/bin/python" -B -m pytest -c tests/manifests/pytest.ini -p no:cacheprovider tests/manifests "$@"
