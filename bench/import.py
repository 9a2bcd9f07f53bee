#!/usr/bin/env python3
"""Compares `order-service import` with psql's \\copy into the same tables with the same indexes, in one run.

    bench/import.py [--orders N] [--rounds N] [--binary PATH]

Each round imports a generated file into an empty database, writes the rows of the tables to files, and fills the same
tables of another empty database with \\copy from these files. Both databases belong to one cluster with full durability.
"""

import argparse
import datetime
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from processes import SERVICE, Cluster, run_measured

TABLES = {
    "orders": "tenant, id, status, customer_id, external_id, currency, total_amount, metadata, version, created_at, "
    "updated_at, json_bytes",
    "order_items": "tenant, order_id, line, product_id, quantity, unit_amount, status",
    "events": "tenant, order_id, version, position, seq, event_type, occurred_at, recorded_at, data, data_bytes, "
    "traceparent, authtype, authid",
}


def write_orders(path, count):
    """Writes orders of one to four lines, every second of a known customer, every third with an external id."""
    numbers = random.Random(1)
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    with path.open("w") as file:
        for n in range(count):
            at = begin + datetime.timedelta(seconds=37 * n, microseconds=n)
            order = {
                "items": [
                    {"product_id": f"sku-{numbers.randrange(5000)}", "quantity": numbers.randrange(1, 9),
                     "unit_amount": numbers.randrange(100, 90000)}
                    for _ in range(numbers.choice([1, 1, 1, 2, 2, 4]))
                ],
                "currency": "EUR",
                "status": numbers.choice(["pending", "confirmed", "shipped", "delivered", "delivered", "cancelled"]),
                "metadata": {"channel": "web", "note": f"order {n}"},
                "created_at": at.isoformat(timespec="microseconds"),
            }
            if n % 2:
                order["customer_id"] = f"customer-{numbers.randrange(100_000)}"
            if n % 3 == 0:
                order["external_id"] = f"shop-{n}"
            file.write(json.dumps(order) + "\n")


def run_copy(url, files):
    """Seconds of one psql that fills each table with \\copy."""
    script = "".join(f"\\copy {table} ({TABLES[table]}) FROM '{files[table]}'\n" for table in TABLES)
    began = time.perf_counter()
    subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", url, "-f", "-"], input=script, check=True, text=True)
    return time.perf_counter() - began


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--orders", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--binary", type=Path, default=SERVICE)
    options = options.parse_args()
    rounds = []
    with Cluster() as cluster, tempfile.TemporaryDirectory(prefix="order-service-import-") as base:
        base = Path(base)
        # The server process does not read these files; psql does.
        path = base / "orders.ndjson"
        write_orders(path, options.orders)
        files = {table: base / f"{table}.copy" for table in TABLES}
        for number in range(options.rounds):
            imported = cluster.database(f"imported_{number}")
            copied = cluster.database(f"copied_{number}")
            for url in (imported, copied):
                env = os.environ | {"DATABASE_URL": url}
                subprocess.run([options.binary, "migrate"], env=env, check=True, capture_output=True)
            took, report, memory = run_measured([options.binary, "import", path], imported)
            if report["imported"] != options.orders:
                raise SystemExit(f"not every order was imported: {report}")
            for table, columns in TABLES.items():
                with files[table].open("w") as file:
                    copy = f"COPY (SELECT {columns} FROM {table} ORDER BY tenant, {'id' if table == 'orders' else 'order_id'}) TO STDOUT"
                    subprocess.run(["psql", "-Xq", imported, "-c", copy], check=True, stdout=file)
            baseline = run_copy(copied, files)
            rows = [cluster.sql(url, "; ".join(f"SELECT count(*) FROM {table}" for table in TABLES)) for url in (imported, copied)]
            if rows[0] != rows[1]:
                raise SystemExit(f"the tables differ: {rows}")
            # Skipping what is stored is what a resumed import does first.
            again, report, _ = run_measured([options.binary, "import", path], imported)
            if report["already_present"] != options.orders:
                raise SystemExit(f"a second import wrote something: {report}")
            rounds.append({
                "orders_per_second": options.orders / took, "copy_orders_per_second": options.orders / baseline,
                "ratio": baseline / took, "skipped_per_second": options.orders / again, "memory_mib": memory,
            })
            print(json.dumps({key: round(value, 2) for key, value in rounds[-1].items()}), flush=True)
            for url in (imported, copied):
                cluster.sql(cluster.url, f"DROP DATABASE {url.rsplit('/', 1)[1]}")
    medians = {key: round(statistics.median(each[key] for each in rounds), 2) for key in rounds[0]}
    print("median", json.dumps(medians))


if __name__ == "__main__":
    main()
