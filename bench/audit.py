#!/usr/bin/env python3
"""Measures `order-service audit` against a plain read of the same rows in the order of their keys.

    audit.py BINARY [ORDERS…]     with PostgreSQL from scripts/postgres.sh; 30000 and 300000 orders by default

Each order has three events, two lines and, every second one, an idempotency key. The read is `COPY (SELECT … ORDER BY
key) TO STDOUT` of the four tables, one after another, to /dev/null: psql itself neither parses nor keeps the rows. The
times are the best of three rounds, in which reads and audits take turns.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from processes import Cluster, run_measured

ROUNDS = 3

TABLES = {
    "orders": "tenant, id",
    "order_items": "tenant, order_id, line",
    "idempotency_keys": "tenant, order_id",
    "events": "tenant, order_id, version, recorded_at",
}

# The documents are those that the service writes (src/order_json.rs).
FILL = """
CREATE FUNCTION document(id uuid, n bigint, status text, version int, created timestamptz, updated timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '{{"id":"' || id || '","items":[{{"product_id":"sku-' || n % 1000 || '","quantity":' || n % 9 + 1
        || ',"unit_amount":250}},{{"product_id":"sku-x","quantity":1,"unit_amount":1000}}],"product_id":null,'
        || '"quantity":null,"currency":"EUR","total_amount":' || (n % 9 + 1) * 250 + 1000
        || ',"external_id":"shop-' || n || '","status":"' || status || '","customer_id":"customer-' || n % 5000
        || '","metadata":{{"channel":"web","note":"benchmark ' || n || '"}},"version":' || version
        || ',"created_at":"' || to_char(created AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","updated_at":"' || to_char(updated AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}}'
$$;
CREATE TABLE source AS
    SELECT n, at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0')
            || '8' || substr(md5(n::text), 1, 15))::uuid AS id
    FROM generate_series(1, {orders}) AS n,
        LATERAL (SELECT date_trunc('milliseconds', now()) - interval '20 days' + n * interval '1 millisecond' AS at) AS t;
INSERT INTO events (tenant, order_id, version, position, event_type, occurred_at, data, data_bytes, authtype)
    SELECT 'default', id, version, version, event_type, updated, data::json, octet_length(data), 'api_key'
    FROM (VALUES (1, 'created', 'pending'), (2, 'updated', 'confirmed'), (3, 'updated', 'shipped'))
            AS v (version, event_type, status), source,
        LATERAL (SELECT at + (version - 1) * interval '1 hour' AS updated) AS u,
        LATERAL (SELECT document(id, n, status, version, at, updated) AS data) AS d
    ORDER BY version, n;
INSERT INTO order_items (tenant, order_id, line, product_id, quantity, unit_amount, status)
    SELECT 'default', id, line, CASE line WHEN 1 THEN 'sku-' || n % 1000 ELSE 'sku-x' END,
        CASE line WHEN 1 THEN n % 9 + 1 ELSE 1 END, CASE line WHEN 1 THEN 250 ELSE 1000 END, 'shipped'
    FROM source, generate_series(1, 2) AS line ORDER BY n, line;
INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
    SELECT 'default', sha256(n::text::bytea), id, sha256(''), 1, document(id, n, 'pending', 1, at, at)::json, at
    FROM source WHERE n % 2 = 0;
INSERT INTO orders (tenant, id, status, customer_id, external_id, currency, total_amount, metadata, version,
        created_at, updated_at, json_bytes)
    SELECT 'default', id, 'shipped', 'customer-' || n % 5000, 'shop-' || n, 'EUR', (n % 9 + 1) * 250 + 1000,
        jsonb_build_object('channel', 'web', 'note', 'benchmark ' || n), 3, at, at + interval '2 hours',
        octet_length(document(id, n, 'shipped', 3, at, at + interval '2 hours'))
    FROM source ORDER BY n;
DROP TABLE source;
DROP FUNCTION document;
VACUUM (ANALYZE);
"""


def read(url):
    """Seconds to read all tables in the order of their keys, as the audit walks them."""
    start = time.monotonic()
    for table, key in TABLES.items():
        sql = f"COPY (SELECT * FROM {table} ORDER BY {key}) TO STDOUT"
        with open("/dev/null", "wb") as null:
            command = ["psql", "-XqAt", url, "-c", sql]
            subprocess.run(command, check=True, stdout=null, env=os.environ | {"PGOPTIONS": PLANS})
    return time.monotonic() - start


# As on the connections of the service.
PLANS = "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c jit=off"


def measure(cluster, binary, url, orders):
    subprocess.run([binary, "migrate"], check=True, env={"DATABASE_URL": url}, stdout=subprocess.DEVNULL)
    cluster.sql(url, FILL.format(orders=orders))
    rounds = [(read(url), *run_measured([binary, "audit"], url)) for _ in range(ROUNDS)]
    report = rounds[0][2]
    assert report["checked"]["orders"] == orders, report
    reading, auditing = min(r[0] for r in rounds), min(r[1] for r in rounds)
    rows = sum(count for name, count in report["checked"].items() if name != "keys")
    print(
        f"{orders} orders, {rows} rows: read {reading:.2f} s, audit {auditing:.2f} s "
        f"({auditing / reading:.2f} times), {rows / auditing / 1000:.0f} 000 rows/s, "
        f"peak memory {max(r[3] for r in rounds):.1f} MiB"
    )


def main():
    binary = str(Path(sys.argv[1]).resolve())
    sizes = [int(size) for size in sys.argv[2:]] or [30_000, 300_000]
    with Cluster("shared_buffers = 512MB", "max_wal_size = 4GB", "autovacuum = off") as cluster:
        for size in sizes:
            url = cluster.database(f"audit_{size}")
            measure(cluster, binary, url, size)
            cluster.sql(cluster.url, f"DROP DATABASE audit_{size}")


if __name__ == "__main__":
    main()
