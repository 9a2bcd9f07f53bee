#!/usr/bin/env bash
# Runs a command against a running service: server.sh with COMMAND…
# The service listens on free ports and uses DATABASE_URL, by default an SQLite database in memory. SERVER is its
# URL for the command. With SCOPES, requests need a credential, and KEY is an API key with these scopes for the command.
# When the command ends, the service is stopped and must exit with code 0.
set -euo pipefail
[ "${1:-}" = with ] || { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; }
shift

log=$(mktemp)
auth=$(mktemp)
trap 'rm -f "$log" "$auth"' EXIT
if [ -n "${SCOPES:-}" ]; then
    # The key is on standard error, its entry on standard output.
    KEY=$(target/debug/order-service api-key --id test --scopes "$SCOPES" 2>&1 >"$auth")
    export KEY AUTH_FILE=$auth
fi
export DATABASE_URL=${DATABASE_URL:-sqlite::memory:} MIGRATE_ON_START=true
BIND_ADDRESS=127.0.0.1:0 METRICS_ADDRESS=127.0.0.1:0 LOG_FORMAT=json target/debug/order-service 2>"$log" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; rm -f "$log" "$auth"' EXIT

address=
for _ in $(seq 200); do
    address=$(sed -n 's/.*"msg":"serving","api":"\([^"]*\)".*/\1/p' "$log")
    [ -z "$address" ] || break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
done
[ -n "$address" ] || { cat "$log" >&2; exit 1; }

SERVER="http://$address" "$@"
kill -TERM "$pid"
wait "$pid"
