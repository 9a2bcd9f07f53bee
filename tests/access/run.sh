#!/usr/bin/env bash
# Tests of credentials with an independent implementation: PyJWT and cryptography make keys and tokens, good and
# hostile ones, and a key server of the tests misbehaves. The service is the debug build on SQLite. Arguments go to
# pytest (`tests/access/run.sh -k rotated`). TOOLS is the directory for the tools (target/tools), BINARY a service
# that is built already. The last line is "N passed, M failed".
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/target/tools}/access
here=tests/access

if ! cmp -s "$here/requirements.txt" "$tools/.made-from"; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$tools/.made-from"
fi
[ -n "${BINARY:-}" ] || cargo build --quiet --bin order-service
# Most of the time is waiting for intervals, so there are more processes than processors.
exec "$tools/bin/python" -B -m pytest -c "$here/pytest.ini" -p no:cacheprovider -n 12 --dist worksteal "$here" "$@"
