#!/usr/bin/env bash
# Installs missing commands and headers from Debian's packages.
#
#   deps.sh build   a C compiler, for SQLite and the cryptography
#   deps.sh test    also what tests and lints need
#   deps.sh bench   also what the benchmark needs
#   deps.sh fuzz    what a build needs, and a C++ compiler for libFuzzer
set -euo pipefail

missing=()
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null || missing+=("$2")
}
need_file() { # need_file FILE PACKAGE
    [ -e "$1" ] || missing+=("$2")
}

need cc gcc
need_file /usr/include/stdio.h libc6-dev
# For libFuzzer, which also lints compile.
[ "${1:-build}" = build ] || need c++ g++
if [ "${1:-build}" != build ] && [ "$1" != fuzz ]; then
    need curl curl
    need pkg-config pkg-config
    need psql postgresql-client
    need openssl openssl
    need setpriv util-linux
    need pgrep procps
    need sqlite3 sqlite3
    need shellcheck shellcheck
    need chromium chromium
    need node nodejs
    need npm npm
    need python3 python3
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    # tests/manifests uses Debian's Python, even if another one is first in the path.
    [ ! -x /usr/bin/python3 ] || /usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    # The diesel command links PostgreSQL's client library; the service does not.
    need_file /usr/include/postgresql/libpq-fe.h libpq-dev
fi
if [ "${1:-build}" = bench ]; then
    need valgrind valgrind
fi

[ ${#missing[@]} -gt 0 ] || exit 0
echo "deps.sh: installing ${missing[*]}" >&2
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    echo "deps.sh: this needs root; run as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
"${as_root[@]}" apt-get update -qq >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
