#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks, from Debian's packages.
set -euo pipefail

missing=()
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null || missing+=("$2")
}
need cc gcc
need ld libc6-dev
need curl curl
need pkg-config pkg-config
need psql postgresql-client
need setpriv util-linux
need pgrep procps
need sqlite3 sqlite3
need shellcheck shellcheck
[ -x /usr/bin/python3 ] || missing+=(python3)
# Debian's Python cannot make environments without it.
/usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
# The diesel command links PostgreSQL's client library; the service does not.
[ -e /usr/include/postgresql/libpq-fe.h ] || missing+=(libpq-dev)

if [ ${#missing[@]} -gt 0 ]; then
    echo "deps.sh: installing ${missing[*]}" >&2
    as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi
