#!/usr/bin/env bash
# The service under load, scraped by a real Prometheus with the rules of the monitoring component.
#
#   run.sh test [PYTEST OPTIONS…]   runs every query of the alerts and of the dashboard
#   run.sh picture FILE             draws the dashboard with the results of its queries
#
# BINARY is the service to run; without it this script makes a debug build.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/target/tools}

scripts/manifest-tools.sh "$tools"
scripts/postgres.sh install
[ -n "${BINARY:-}" ] || cargo build --quiet --bin order-service
export TOOLS=$tools PYTHONPATH=tests/manifests
case "${1:-}" in
test)
    shift
    exec "$tools/manifests/bin/python" -B -m pytest -c tests/manifests/pytest.ini -p no:cacheprovider tests/monitoring "$@"
    ;;
picture) exec "$tools/manifests/bin/python" -B tests/monitoring/picture.py "$2" ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
