"""How operations depend on the number of stored events: latency, and pages that the database touches.

The events are those of a year, in monthly partitions. The small database has a hundredth of the events of the large one.
"""

import json
import re
import statistics
import subprocess
import time
import uuid

from parts import ORDERS, POST, service_database
from processes import ROOT, SERVICE, Server, load

EVENTS_EACH = 5
SPAN_MS = 360 * 24 * 60 * 60 * 1000
# The touched pages are counted for a second with this many requests.
COUNTED = 40

PARTITIONS = """
DO $$
DECLARE
    start timestamp := date_trunc('month', now() AT TIME ZONE 'UTC') - interval '12 months';
BEGIN
    FOR i IN 1..12 LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
            'events_' || to_char(start, 'YYYY_MM'), start AT TIME ZONE 'UTC',
            (start + interval '1 month') AT TIME ZONE 'UTC');
        start := start + interval '1 month';
    END LOOP;
END
$$;
"""
# An order has the id of order_id(), a key, one line, and the events of its versions.
FILL = """
CREATE TEMPORARY TABLE numbered AS
    SELECT n, (lpad(to_hex(ms), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid AS id, to_timestamp(ms / 1000.0) AS at
    FROM (SELECT n, {start} + n * {span}::bigint / {orders} AS ms FROM generate_series({first}::bigint, {last}) AS n) AS times;
CREATE TEMPORARY TABLE documents AS
    SELECT n, id, at, json_build_object(
        'id', id, 'items', json_build_array(json_build_object('product_id', 'sku-' || n % 1000, 'quantity', 3, 'unit_amount', null)),
        'product_id', 'sku-' || n % 1000, 'quantity', 3, 'currency', null, 'total_amount', null, 'external_id', null,
        'status', 'pending', 'customer_id', 'customer-' || n % 1000, 'metadata', json_build_object('colour', 'blue'),
        'version', {each}, 'created_at', at, 'updated_at', at) AS document
    FROM numbered;
INSERT INTO orders (tenant, id, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
    SELECT 'default', id, 'pending', 'customer-' || n % 1000, '{{"colour": "blue"}}', {each}, at, at, 390 FROM numbered;
INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
    SELECT 'default', id, 1, 'sku-' || n % 1000, 3, 'pending' FROM numbered;
INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
    SELECT 'default', sha256(id::text::bytea), id, sha256(id::text::bytea), 1, document, at FROM documents;
INSERT INTO events (tenant, order_id, version, event_type, position, occurred_at, recorded_at, data, data_bytes, authtype)
    SELECT 'default', id, version, CASE version WHEN 1 THEN 'created' ELSE 'updated' END,
        n - {orders} + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1),
        at, at, document, octet_length(document::text), 'unauthenticated'
    FROM documents, generate_series(1, {each}) AS version;
"""
COUNT_PAGES = (
    "session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0", "auto_explain.log_analyze = on",
    "auto_explain.log_buffers = on", "auto_explain.log_timing = off", "auto_explain.log_format = json",
)


def growth(cluster, options):
    """Each operation alone, with one client, alternately on the small and on the large database."""
    start = int(time.time() * 1000) - SPAN_MS
    orders = {"small": max(1, options.rows // 100 // EVENTS_EACH), "large": max(100, options.rows // EVENTS_EACH)}
    urls = {size: grown(cluster, f"grown_{size}", count, start) for size, count in orders.items()}
    files = {size: ids(size, count, start) for size, count in orders.items()}
    middle = {size: order_id(count // 2, count, start) for size, count in orders.items()}
    feed = {size: middle_of_feed(cluster, url) for size, url in urls.items()}
    patch = ["--method", "PATCH", "--body", '{"metadata":{"n":"{n}"}}']
    operations = {
        "create": lambda size: [ORDERS, *POST],
        "get by id": lambda size: [ORDERS + "/{id}", "--ids", files[size]],
        "update": lambda size: [ORDERS + "/{id}", "--ids", files[size], *patch],
        "first page": lambda size: [ORDERS],
        "page in the middle": lambda size: [f"{ORDERS}?starting_after={middle[size]}"],
        "by product": lambda size: [ORDERS + "?product_id=sku-7&limit=10"],
        "by customer": lambda size: [ORDERS + "?customer_id=customer-7&limit=10"],
        "events of an order": lambda size: [ORDERS + "/{id}/events", "--ids", files[size]],
        "feed in the middle": lambda size: [f"/api/v1/events?limit=100&after={feed[size]}"],
    }
    result = {"events": {size: count * EVENTS_EACH for size, count in orders.items()}, "operations": {}, "pages": {}}
    with Server(SERVICE, urls["small"]) as small, Server(SERVICE, urls["large"]) as large:
        servers = {"small": small, "large": large}
        for name, request in operations.items():
            rounds = [{size: load(server, *request(size), "--connections", 1, "--duration", "2s")
                       for size, server in servers.items()} for _ in range(max(3, options.rounds))]
            if failed := sum(r["failed"] for turn in rounds for r in turn.values()):
                raise SystemExit(f"{name}: {failed} requests failed")
            result["operations"][name] = rounds
            p50 = {size: statistics.median(r[size]["p50"] for r in rounds) for size in orders}
            print(f"{name}: {p50['small']:.3f} ms, {p50['large']:.3f} ms", flush=True)
    for size, url in urls.items():
        result["pages"][size] = pages(cluster, url, {name: request(size) for name, request in operations.items()})
        print(f"pages touched, {size}: {result['pages'][size]}", flush=True)
    return result


def order_id(n, count, start):
    """The id of the n-th of all orders, which were created at equal distances since `start`."""
    ms = start + n * SPAN_MS // count
    return str(uuid.UUID(f"{ms:012x}70008000{n:012x}"))


def ids(size, count, start):
    """A file of ids to get, so that requests are for different orders."""
    file = ROOT / f"target/bench/grown_{size}.ids"
    chosen = range(1, count + 1, max(1, count // 10_000))
    file.write_text("\n".join(order_id(n, count, start) for n in chosen))
    return file


def grown(cluster, name, orders, start):
    """A database with that many orders. Indexes are created after the rows, which is faster."""
    template = service_database(cluster, name + "_template")
    cluster.sql(template, PARTITIONS)
    url = cluster.database(name)
    for section in ("pre-data", "data", "post-data"):
        if section == "data":
            for first in range(1, orders + 1, 200_000):
                last = min(orders, first + 199_999)
                cluster.sql(url, FILL.format(first=first, last=last, orders=orders, start=start, span=SPAN_MS, each=EVENTS_EACH))
                print(f"{name}: {last} of {orders} orders", flush=True)
        dump = subprocess.run(["pg_dump", f"--section={section}", template], check=True, capture_output=True, text=True)
        cluster.sql(url, dump.stdout)
    cluster.sql(url, "VACUUM ANALYZE")
    cluster.sql(url, "CHECKPOINT")
    return url


def middle_of_feed(cluster, url):
    """The cursor of the event in the middle of the feed.

    Cursors are encrypted. Only the service makes one: for a reader that is behind the events that retention has
    removed, it is the cursor of the last of them.
    """
    with Server(SERVICE, url) as service:
        _, headers, _ = service.get("/api/v1/events?limit=1")
        first = re.search(r"after=([^&>]+)", headers["Link"])[1]
        cluster.sql(url, "INSERT INTO feed_floors (tenant, position, seq, order_id, version, occurred_at) "
                         "SELECT tenant, position, seq, order_id, version, occurred_at FROM events "
                         "ORDER BY position, seq OFFSET (SELECT count(*) / 2 FROM events) LIMIT 1")
        status, _, body = service.get(f"/api/v1/events?after={first}")
        cluster.sql(url, "DELETE FROM feed_floors")
    if status != 410:
        raise SystemExit(f"no cursor of the middle of the feed: status {status}")
    return json.loads(body)["oldest"]


def pages(cluster, url, operations):
    """The median number of pages that the statements of one request touch, by operation, from the log of the server."""
    name = url.rsplit("/", 1)[1]
    for setting in COUNT_PAGES:
        cluster.sql(url, f"ALTER DATABASE {name} SET {setting}")
    log = cluster.base / "pg/log"
    counts = {}
    for operation, request in operations.items():
        with Server(SERVICE, url) as server:
            begin = log.stat().st_size
            load(server, *request, "--connections", 1, "--rate", COUNTED, "--duration", "1s")
            time.sleep(0.2)
            with log.open() as file:
                file.seek(begin)
                text = file.read()
        # Statements that the service runs on its own, such as the one of the tail, appear less often than those of requests.
        touched = {}
        for plan in re.findall(r"plan:\n(\t\{.*?\n\t\})", text, re.DOTALL):
            plan = json.loads(plan)
            root = plan["Plan"]
            total = root.get("Shared Hit Blocks", 0) + root.get("Shared Read Blocks", 0)
            touched.setdefault(plan["Query Text"], []).append(total)
        counts[operation] = sum(statistics.median(blocks) for blocks in touched.values() if len(blocks) >= COUNTED // 2)
    for setting in COUNT_PAGES:
        cluster.sql(url, f"ALTER DATABASE {name} RESET {setting.split(' ')[0]}")
    return counts
