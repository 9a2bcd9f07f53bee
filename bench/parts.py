"""The parts of the benchmark."""

import os
import statistics
import subprocess
import tempfile
import time
import uuid

from processes import BIN, ROOT, SERVICE, Server, load, load_command, pgbench

ORDERS = "/api/v1/orders"
BODY = '{"product_id":"sku-{n}","quantity":3,"customer_id":"customer-1","metadata":{"colour":"blue"}}'
CLIENTS = 64
PRELOADED = 10_000
POST = ["--body", BODY, "--idempotency-key"]
BASELINE = BIN / "baseline"
# The baselines write the rows of the service into tables of their own.
SAME_ROWS = "same_rows."

# Orders of one line that exist before the measurement, for the first page and get by id. The service and the baselines
# read the same tables.
FILL = """
INSERT INTO {schema}orders (tenant, id, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
SELECT 'default', (lpad(to_hex(0), 8, '0') || lpad(to_hex(n), 24, '0'))::uuid, 'pending', 'customer-' || n % 1000,
    '{{"colour": "blue"}}', 1, now(), now(), 390
FROM generate_series({first}, {last}) n;
INSERT INTO {schema}order_items (tenant, order_id, line, product_id, quantity, status)
SELECT 'default', (lpad(to_hex(0), 8, '0') || lpad(to_hex(n), 24, '0'))::uuid, 1, 'sku-' || n % 1000, 3, 'pending'
FROM generate_series({first}, {last}) n;
"""
# The tables of the baselines that write fewer rows.
PLAIN_FILL = """
INSERT INTO orders (id, product_id, quantity, status, customer_id, metadata, version, created_at, updated_at)
SELECT (lpad(to_hex(0), 8, '0') || lpad(to_hex(n), 24, '0'))::uuid, 'sku-' || n % 1000, 3, 'pending',
    'customer-' || n % 1000, '{{"colour": "blue"}}', 1, now(), now()
FROM generate_series(1, {last}) n;
"""
EVENTS = """
WITH documents AS (
    SELECT id, created_at, json_build_object(
        'id', id, 'items', json_build_array(json_build_object(
            'product_id', product_id, 'quantity', quantity, 'unit_amount', unit_amount)),
        'product_id', product_id, 'quantity', quantity, 'currency', currency, 'total_amount', total_amount,
        'external_id', external_id, 'status', orders.status, 'customer_id', customer_id, 'metadata', metadata,
        'version', version, 'created_at', created_at, 'updated_at', updated_at) AS document
    FROM {schema}orders AS orders
    JOIN {schema}order_items AS items ON items.tenant = orders.tenant AND items.order_id = orders.id
    WHERE id > '{after}'::uuid AND order_id > '{after}'::uuid
), logged AS (
    INSERT INTO {schema}events (tenant, order_id, version, event_type, position, occurred_at, data, data_bytes, authtype)
    SELECT 'default', id, 1, 'created', pg_current_xact_id()::text::bigint, created_at, document, octet_length(document::text),
        'unauthenticated'
    FROM documents
)
INSERT INTO {schema}idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
SELECT 'default', sha256(md5(id::text)::bytea), id, sha256(id::text::bytea), 1, document, created_at FROM documents;
"""


def order_id(n):
    return str(uuid.UUID(int=n))


def ids(count=PRELOADED):
    """A file of ids to get, so that requests are for different orders."""
    file = ROOT / f"target/bench/{count}.ids"
    if not file.exists():
        file.write_text("\n".join(order_id(n) for n in range(1, count + 1, max(1, count // PRELOADED))))
    return file


def service_database(cluster, name):
    url = cluster.database(name)
    migrate = [SERVICE, "migrate"]
    env = os.environ | {"DATABASE_URL": url}
    subprocess.run(migrate, env=env, check=True, capture_output=True)
    return url


def plain_database(cluster, name):
    url = cluster.database(name)
    cluster.sql(url, (ROOT / "bench/baseline/schema.sql").read_text())
    return url


def fill(cluster, url, first, last, schema=""):
    """Orders with their lines, events and keys."""
    cluster.sql(url, FILL.format(first=first, last=last, schema=schema))
    cluster.sql(url, EVENTS.format(after=order_id(first - 1), schema=schema))


def refill(cluster, url):
    """Restores the same content in the service's tables, without pending work of vacuum or checkpoints."""
    cluster.sql(url, "TRUNCATE orders, order_items, events, idempotency_keys")
    fill(cluster, url, 1, PRELOADED)
    cluster.sql(url, "VACUUM ANALYZE; CHECKPOINT")


def refill_plain(cluster, url):
    """The same in the tables of the baselines."""
    tables = ("orders", "order_items", "events", "idempotency_keys")
    cluster.sql(url, "TRUNCATE orders, events, " + ", ".join(SAME_ROWS + table for table in tables))
    cluster.sql(url, PLAIN_FILL.format(last=PRELOADED))
    fill(cluster, url, 1, PRELOADED, SAME_ROWS)
    cluster.sql(url, "VACUUM ANALYZE; CHECKPOINT")


def settle(cluster, urls):
    """Refills all databases, so that no measurement pays for the previous one."""
    for name, url in urls.items():
        (refill if name == "service" else refill_plain)(cluster, url)


def throughput(cluster, options):
    """A closed loop for the maximum, and open loops at half of the maxima for the percentiles."""
    urls = {
        "service": service_database(cluster, "service"),
        "baseline": plain_database(cluster, "baseline"),
        "pgbench": plain_database(cluster, "pgbench"),
    }
    get = [ORDERS + "/{id}", "--ids", ids()]
    kinds = {
        "post": {"service": [ORDERS, *POST], "baseline": [ORDERS, *POST], "baseline_no_ping": [ORDERS, *POST],
                 "baseline_two_rows": [ORDERS + "-with-event", *POST],
                 "baseline_same_rows": [ORDERS + "-same-rows", *POST],
                 "pgbench": "insert.sql", "pgbench_same_rows": "insert_same_rows.sql"},
        "first_page": {"service": [ORDERS], "baseline": [ORDERS], "baseline_no_ping": [ORDERS],
                       "pgbench": "first_page.sql"},
        "get": {"service": get, "baseline": get, "baseline_no_ping": get, "pgbench": "get.sql"},
    }
    rounds = []
    with (Server(SERVICE, urls["service"]) as service, Server(BASELINE, urls["baseline"]) as baseline,
          Server(BASELINE, urls["baseline"], TEST_BEFORE_ACQUIRE="false") as no_ping):
        servers = {"service": service, "baseline": baseline, "baseline_two_rows": baseline,
                   "baseline_same_rows": baseline, "baseline_no_ping": no_ping}
        for number in range(options.rounds):
            rounds.append({kind: one_round(number, servers, targets, cluster, urls, options)
                           for kind, targets in kinds.items()})
            report_round(number, rounds[-1])
        peaks = {"service": service.memory("VmHWM"), "baseline": baseline.memory("VmHWM")}
    return {"rounds": rounds, "memory_peak_mib": peaks}


def one_round(number, servers, targets, cluster, urls, options):
    closed, order = {}, list(targets)
    # The order rotates.
    order = order[number % len(order):] + order[: number % len(order)]
    for target in order:
        how = targets[target]
        settle(cluster, urls)
        before = cluster.cpu_seconds()
        if target.startswith("pgbench"):
            result = pgbench(urls["pgbench"], how, options.seconds + 1, number * 10**8)
        else:
            result = load(servers[target], *how, "--connections", CLIENTS, "--duration", f"{options.seconds}s")
            if failed := result["failed"]:
                raise SystemExit(f"{failed} requests to {target} failed")
        result["database_cpu_us"] = (cluster.cpu_seconds() - before) / result["responses"] * 1e6
        closed[target] = result
    # Half of the service's maximum for both, and half of the baseline's own for both.
    rates = {"half": closed["service"]["ok_per_second"] / 2,
             "baseline_half": closed["baseline"]["ok_per_second"] / 2}

    def at(rate, target, *how):
        return load(servers[target], *how, "--connections", CLIENTS, "--rate", f"{rate:.0f}",
                    "--duration", f"{options.seconds}s")

    latency = {}
    for name, rate in rates.items():
        latency[name] = {}
        for target in ("service", "baseline"):
            settle(cluster, urls)
            latency[name][target] = at(rate, target, *targets[target])
    # For comparison, a request that needs neither queue nor database.
    latency["half"]["probe"] = at(rates["half"], "service", "/healthz")
    return {"closed": closed, "rates": rates, "open": latency}


def report_round(number, results):
    for kind, result in results.items():
        closed = "  ".join(f"{target} {r['ok_per_second']:.0f}/s" for target, r in result["closed"].items())
        cpu = "  ".join(f"{t} {r['cpu_us']:.1f}" for t, r in result["closed"].items() if "cpu_us" in r)
        half = "  ".join(f"{t} p50 {r['p50']:.2f} p99 {r['p99']:.2f}" for t, r in result["open"]["half"].items())
        low = "  ".join(f"{t} p50 {r['p50']:.2f} p99 {r['p99']:.2f}"
                        for t, r in result["open"]["baseline_half"].items())
        database = "  ".join(f"{t} {r['database_cpu_us']:.1f}" for t, r in result["closed"].items())
        print(f"round {number + 1} {kind}: {closed} | CPU µs {cpu} | in the database {database} | half: {half} | low: {low}", flush=True)


def memory(cluster, _):
    """Resident memory: idle with the minimal pool, under load, and with many idle clients."""
    url = service_database(cluster, "memory")
    refill(cluster, url)
    idle_clients = 5000
    with Server(SERVICE, url) as service:
        time.sleep(3)
        result = {"idle_mib": service.memory(), "idle_connections": int(cluster.sql(
            url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'order-service'"))}
        for path, *options in ([ORDERS, *POST], [ORDERS], [ORDERS + "/{id}", "--ids", ids()]):
            load(service, path, *options, "--connections", CLIENTS, "--duration", "5s")
        result["loaded_peak_mib"] = service.memory("VmHWM")
    with Server(SERVICE, url) as service:
        command = load_command(service, ORDERS + "/" + order_id(1), "--idle", "--connections", idle_clients,
                               "--duration", "4s")
        holding = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak, open_clients = 0.0, 0
        while holding.poll() is None:
            peak = max(peak, service.memory())
            open_clients = max(open_clients, service.sockets())
            time.sleep(0.2)
        if holding.returncode or open_clients < idle_clients:
            raise SystemExit(f"the idle clients failed: {open_clients} of {idle_clients} were connected")
        result |= {"idle_clients": idle_clients, "idle_clients_seen": open_clients, "idle_clients_mib": peak}
    print("  ".join(f"{k} {v:.1f}" for k, v in result.items()), flush=True)
    return result


def start(cluster, _):
    """The time from the start of the process to the first 200 on /readyz, 20 times each."""
    url = service_database(cluster, "start")
    with tempfile.TemporaryDirectory() as folder:
        targets = {"sqlite": f"sqlite://{folder}/orders.db", "postgres": url}
        times = {name: [] for name in targets}
        for number in range(21):
            for name, target in targets.items():
                with Server(SERVICE, target) as service:
                    # The first start creates the SQLite file.
                    if number:
                        times[name].append(service.started_in * 1000)
    for name, measured in times.items():
        print(f"{name}: median {statistics.median(measured):.1f} ms, worst {max(measured):.1f} ms", flush=True)
    return times


def overload(cluster, options):
    """Four times the maximum rate, over more clients than the queue has permits."""
    url = service_database(cluster, "overload")
    refill(cluster, url)
    clients = 6000
    results = []
    with Server(SERVICE, url) as service:
        for _ in range(4):
            most = load(service, ORDERS, *POST, "--connections", CLIENTS, "--duration", f"{options.seconds}s")
            rate = 4 * most["ok_per_second"]
            over = load(service, ORDERS, *POST, "--connections", clients, "--rate", f"{rate:.0f}",
                        "--duration", f"{options.seconds}s", "--from-sending",
                        nice=19)  # Approximates a load generator on another machine.
            results.append({"maximum": most, "rate": rate, "over": over, "memory_peak_mib": service.memory("VmHWM")})
            print(f"maximum {most['ok_per_second']:.0f}/s, due {rate:.0f}/s: accepted {over['ok_per_second']:.0f}/s "
                  f"p99 {over['p99']:.0f} ms, {over['rejected']} rejected "
                  f"({over['rejected_without_retry_after']} without Retry-After), {over['failed']} failed, "
                  f"{over['unsent_at_end']} never sent, {results[-1]['memory_peak_mib']:.0f} MiB", flush=True)
    return {"clients": clients, "rounds": results}
