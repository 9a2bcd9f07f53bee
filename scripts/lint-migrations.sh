#!/usr/bin/env bash
# Lints the migrations after the initial one, after a test of the linter on examples.
#
#   lint-migrations.sh TOOLS
set -euo pipefail
[ $# = 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }

here=$(cd "$(dirname "$0")/.." && pwd)
tools=$1/migrations
"$here/scripts/python-env.sh" "$tools" "$here/tests/migrations/requirements.txt"
"$tools/bin/python" -B "$here/tests/migrations/test_lint.py" "$tools/bin/squawk"
"$tools/bin/python" -B "$here/scripts/lint-migrations.py" "$tools/bin/squawk" "$here/migrations"
