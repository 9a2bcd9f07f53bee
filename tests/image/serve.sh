# shellcheck shell=bash
# Part of run.sh: the running image, configured as in the manifests.

free_port() { /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
api=http://127.0.0.1:$port

start() { # start NAME OPTIONS…: a container that is hardened as in the manifests
    local name=$1
    shift
    containers+=("$name")
    podman run --detach --name "$name" --read-only --read-only-tmpfs=false --cap-drop=all \
        --security-opt=no-new-privileges --memory 128m \
        --env BIND_ADDRESS="127.0.0.1:$port" --env METRICS_ADDRESS="127.0.0.1:$(free_port)" "$@" "$image" >/dev/null
}
ready() { # ready NAME: waits up to 10 s
    for _ in $(seq 100); do
        ! curl --silent --fail --output /dev/null "$api/readyz" || return 0
        sleep 0.1
    done
    podman logs "$1" 2>&1 | tail -n 5
    return 1
}
create_order() { curl --silent --fail "$api/api/v1/orders" --json '{"product_id": "sku-1", "quantity": 3}' | sed -E 's/.*"id":"([^"]*)".*/\1/'; }
status_of() { podman inspect --format "{{.State.$2}}" "$1"; }
stops() { # stops NAME: exit code 0, not killed
    podman stop --time 30 "$1" >/dev/null
    equal "$(status_of "$1" ExitCode)" 0 && podman logs "$1" 2>&1 | tail -n 1 | grep -q '"msg":"ended"'
}

# The address of the image's environment is not loopback.
podman run --rm "$image" >"$work/undeclared" 2>&1 && undeclared=0 || undeclared=$?
check "without a declaration of who may call it does not start" equal "$undeclared" 2
check "and the message names both settings" equal "$(grep -oE 'AUTH_(FILE|ANONYMOUS)' "$work/undeclared" | sort -u | xargs)" "AUTH_ANONYMOUS AUTH_FILE"
check "the image makes API keys" grep -q '^sha256 = ' <(podman run --rm "$image" api-key --id test --scopes orders:read 2>/dev/null)

# SQLite on a volume. On a loopback address it is open.
podman volume create image-test >/dev/null
start sqlite --volume image-test:/data --env DRAIN_DELAY=2s
check "SQLite on a volume: ready" ready sqlite
order=$(create_order)
check "an order is created" test -n "$order"
pid=$(status_of sqlite Pid)
check "the process runs as uid 65532" equal "$(awk '/^Uid/ {print $2, $3, $4, $5}' "/proc/$pid/status")" "65532 65532 65532 65532"
check "the process has no capability" equal "$(awk '/^Cap(Prm|Eff|Bnd)/ {print $2}' "/proc/$pid/status" | sort -u)" 0000000000000000
check "the process cannot gain privileges" equal "$(awk '/^NoNewPrivs/ {print $2}' "/proc/$pid/status")" 1
check "its root file system is read-only" grep -qE '^[0-9]+ [0-9]+ [^ ]+ / / ro' "/proc/$pid/mountinfo"
cgroup=$(find /sys/fs/cgroup -path "*$(podman inspect --format '{{.Id}}' sqlite)*" \( -name memory.max -o -name memory.limit_in_bytes \) -print -quit)
check "its memory is limited" equal "$(cat "$cgroup")" 134217728
check "the health check works in the container" podman exec sqlite order-service healthcheck
# Four clients at once, with bodies close to the limit.
body=$(printf '{"product_id": "sku-1", "quantity": 1%65000s}' "")
check "large bodies are accepted" equal "$(seq 400 |
    xargs -P 4 -I{} curl --silent --output /dev/null --write-out '%{http_code}\n' --json "$body" "$api/api/v1/orders" | sort | uniq -c | xargs)" "400 201"
echo "        memory at most: $(awk '/VmHWM/ {print $2, $3}' "/proc/$pid/status")"

# While it drains it serves requests and announces the shutdown.
podman stop --time 30 sqlite >/dev/null &
stopping=$!
sleep 0.7
draining=$(curl --silent --include "$api/api/v1/orders/$order" "$api/readyz" || true)
wait "$stopping"
check "a draining service responds" grep -q "\"id\":\"$order\"" <<<"$draining"
check "a draining service closes connections" grep -qi '^connection: close' <<<"$draining"
check "a draining service is not ready" grep -q '"reason":"draining"' <<<"$draining"
check "the service exits with 0" equal "$(status_of sqlite ExitCode)" 0
start sqlite-again --volume image-test:/data
check "a new container on the same volume becomes ready" ready sqlite-again
check "the order is still there" curl --silent --fail --output /dev/null "$api/api/v1/orders/$order"
check "the new container stops" stops sqlite-again

# A PostgreSQL that requires TLS, with a certificate of a test authority for one name.
name=db.orders.test
database=$(scripts/postgres.sh start "$work/pg")
data=$work/pg/data
quiet() { "$@" 2>/dev/null; }
quiet openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=test authority" -keyout "$work/ca.key" -out "$work/ca.crt"
quiet openssl req -newkey rsa:2048 -nodes -subj "/CN=server" -keyout "$work/server.key" -out "$work/server.csr"
quiet openssl x509 -req -days 2 -in "$work/server.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial \
    -extfile <(echo "subjectAltName=DNS:$name") -out "$work/server.crt"
install -m 600 -o postgres -g postgres "$work"/server.{key,crt} "$data/"
chmod 644 "$work/ca.crt"
echo "ssl = on" >>"$data/postgresql.conf"
sed -i '1i hostnossl all all all reject' "$data/pg_hba.conf"
scripts/postgres.sh stop "$work/pg" fast
scripts/postgres.sh up "$work/pg"
db_port=$(cat "$work/pg/port")
url() { echo "postgres://postgres@$1:$db_port/postgres?sslmode=verify-full&sslrootcert=/run/ca.crt"; }
tls=(--volume "$work/ca.crt:/run/ca.crt:ro")

check "PostgreSQL rejects connections without TLS" grep -q 'no encryption' <(psql "$database?sslmode=disable" -c '' 2>&1)
# Resolution by /etc/hosts, as in a pod with hostAliases.
check "migrate works over TLS with a name in /etc/hosts" podman run --rm --read-only --cap-drop=all "${tls[@]}" \
    --add-host "$name:127.0.0.1" --env DATABASE_URL="$(url "$name")" "$image" migrate
check "a certificate for another name is rejected" grep 'not valid for name' <(podman run --rm "${tls[@]}" \
    --add-host other.orders.test:127.0.0.1 --env DATABASE_URL="$(url other.orders.test)" "$image" migrate 2>&1)
check "a certificate of an unknown authority is rejected" grep 'UnknownIssuer' <(podman run --rm --add-host "$name:127.0.0.1" \
    --env DATABASE_URL="postgres://postgres@$name:$db_port/postgres?sslmode=verify-full" "$image" migrate 2>&1)

# Resolution by DNS, in a root without nsswitch.conf and without libraries, where static binaries may fail.
address=127.0.0.153
: >"$work/dns"
/usr/bin/python3 tests/image/dns.py "$address" "$name" >"$work/dns" &
dns=$!
until grep -q ready "$work/dns"; do kill -0 "$dns" && sleep 0.1; done
start postgres "${tls[@]}" --no-hosts --dns "$address" --env DATABASE_URL="$(url "$name")"
check "PostgreSQL over TLS with a name in DNS: ready" ready postgres
check "an order is created on PostgreSQL" test -n "$(create_order)"
check "every connection is encrypted" equal \
    "$(PGSSLMODE=require psql -qXAt "${database}" -c "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name <> 'psql' AND backend_type = 'client backend'")" t
echo "        memory at most: $(awk '/VmHWM/ {print $2, $3}' "/proc/$(status_of postgres Pid)/status")"
check "the service on PostgreSQL stops" stops postgres
start unknown "${tls[@]}" --no-hosts --dns "$address" --env DATABASE_URL="$(url unknown.orders.test)"
sleep 2
check "with an unknown host name it is alive" curl --silent --fail --output /dev/null "$api/healthz"
check "with an unknown host name it reports why it is not ready" grep -q database_unavailable <(curl --silent "$api/readyz")
check "with an unknown host name it stops" stops unknown
