#!/usr/bin/env bash
# Throw-away PostgreSQL clusters for tests. Existing clusters are not touched.
#
#   postgres.sh install          install PostgreSQL from Debian's packages if it is missing
#   postgres.sh start DIR        create a cluster in DIR (must not exist) and start it; prints its URL
#   postgres.sh up DIR           start a stopped cluster
#   postgres.sh stop DIR [MODE]  stop the cluster: fast, immediate (default) or smart
#   postgres.sh standby FROM DIR create and start, in DIR, a standby of the server in FROM; prints its URL
#   postgres.sh promote DIR      promote a standby
#   postgres.sh with COMMAND…    run COMMAND with TEST_DATABASE_URL set to a new cluster
#
# POSTGRES_CONF may hold more lines of postgresql.conf; the last line of a setting counts.
# PostgreSQL does not run as root. As root, this script uses the user `postgres` of Debian's package.
set -euo pipefail

bin_dir() {
    local newest
    newest=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -name initdb 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$newest" ]; then dirname "$newest"; elif command -v initdb >/dev/null; then dirname "$(command -v initdb)"; fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install() {
    [ -n "$(bin_dir)" ] && return
    echo "postgres.sh: installing PostgreSQL from Debian's packages" >&2
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql-common >&2
    # Otherwise Debian's package creates and starts its own cluster.
    local conf=/etc/postgresql-common/createcluster.d/order-service-tests.conf
    as_root mkdir -p "$(dirname "$conf")"
    echo "create_main_cluster = false" | as_root tee "$conf" >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >&2
    as_root rm -f "$conf"
}

# Runs a command as a user other than root.
unprivileged() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups "$@")
    else
        "$@"
    fi
}

start() {
    local dir=$1 bin port
    install
    bin=$(bin_dir)
    mkdir "$dir"
    chmod 700 "$dir"
    [ "$(id -u)" != 0 ] || chown postgres: "$dir"
    unprivileged "$bin/initdb" -D "$dir/data" -U postgres --auth=trust -E UTF8 --locale=C --no-sync >"$dir/../initdb.$$.log" 2>&1 ||
        { cat "$dir/../initdb.$$.log" >&2; exit 1; }
    rm -f "$dir/../initdb.$$.log"
    # The data need not survive a crash of the machine.
    unprivileged tee -a "$dir/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$dir'
max_connections = 300
fsync = off
${POSTGRES_CONF:-}
CONF
    launch "$dir"
}

# Starts the cluster in a directory on a free port and prints its URL.
launch() {
    local dir=$1 bin port
    bin=$(bin_dir)
    for _ in 1 2 3 4 5 6 7 8; do
        port=$((20000 + RANDOM % 12000))
        if unprivileged "$bin/pg_ctl" -D "$dir/data" -o "-p $port" -l "$dir/log" -w -t 60 start >/dev/null 2>&1; then
            unprivileged tee "$dir/port" >/dev/null <<<"$port"
            echo "postgres://postgres@127.0.0.1:$port/postgres"
            return
        fi
    done
    cat "$dir/log" >&2
    exit 1
}

standby() {
    local from=$1 dir=$2
    mkdir "$dir"
    chmod 700 "$dir"
    [ "$(id -u)" != 0 ] || chown postgres: "$dir"
    unprivileged "$(bin_dir)/pg_basebackup" -h 127.0.0.1 -p "$(cat "$from/port")" -U postgres -c fast -R -D "$dir/data" >&2
    # The last line of a setting counts; the copied configuration has the primary's directory.
    unprivileged tee -a "$dir/data/postgresql.conf" >/dev/null <<<"unix_socket_directories = '$dir'"
    launch "$dir"
}

promote() {
    unprivileged "$(bin_dir)/pg_ctl" -D "$1/data" -w -t 60 promote >/dev/null
}

up() {
    unprivileged "$(bin_dir)/pg_ctl" -D "$1/data" -o "-p $(cat "$1/port")" -l "$1/log" -w -t 60 start >/dev/null
}

stop() {
    unprivileged "$(bin_dir)/pg_ctl" -D "$1/data" -m "${2:-immediate}" -w -t 60 stop >/dev/null
}

with() {
    # Not local: the trap uses it after this function has returned.
    base=$(mktemp -d)
    chmod 711 "$base"
    trap 'stop "$base/pg" || true; rm -rf "$base"' EXIT
    TEST_DATABASE_URL=$(start "$base/pg")
    export TEST_DATABASE_URL
    "$@"
}

command=${1:-}
case "$command" in
install | start | standby | promote | up | stop | with) shift && "$command" "$@" ;;
*) sed -n '2,13s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
