//! Every list walks an index, and reads a page of it in each walk, also when the orders that match are at its other end
//! and when the statistics of the planner are those of another table.

use super::{expect_index_walks, log_plans, plans};
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::server::Server;

/// The number of orders of the tenant.
const ROWS: u32 = 300_000;
/// A few orders of other tenants, with other properties.
const FEW_ROWS: &str = "
    ALTER TABLE orders SET (autovacuum_enabled = off);
    ALTER TABLE order_items SET (autovacuum_enabled = off);
    INSERT INTO orders (tenant, id, status, customer_id, external_id, metadata, version, created_at, updated_at,
        json_bytes)
    SELECT 'tenant-' || i % 10, gen_random_uuid(), 'pending', 'c' || i, 'e' || i, '{}', 1, now(), now(), 288
    FROM generate_series(1, 1000) AS i;
    INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
    SELECT tenant, id, 1, 'p' || customer_id, 1, status FROM orders;
    ANALYZE";

/// SQL that inserts orders of which order `i` is created at `i` milliseconds. The older half is delivered, and of one
/// product and customer. Of the newer half, every second order is of another product and customer; the others have few
/// orders each.
fn many_rows() -> String {
    format!(
        "CREATE TABLE n AS SELECT i, (lpad(to_hex(i), 12, '0') || '70008000000000000000')::uuid AS id,
            CASE WHEN i <= {half} THEN 'large' WHEN i % 2 = 0 THEN 'recent' ELSE 's' || i % 1000 END AS name,
            CASE WHEN i <= {half} THEN 'delivered'
                ELSE (ARRAY['pending', 'confirmed', 'shipped', 'cancelled'])[1 + i / 2 % 4] END AS status
         FROM generate_series(1, {ROWS}) AS i;
         INSERT INTO orders (tenant, id, status, customer_id, external_id, metadata, version, created_at, updated_at,
            json_bytes)
         SELECT 'default', id, status, name, 'e' || i, '{{}}', 1, to_timestamp(i / 1000.0), to_timestamp(i / 1000.0), 288
         FROM n;
         INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
         SELECT 'default', id, 1, name, 1, status FROM n",
        half = ROWS / 2
    )
}

/// The bounds of a range of milliseconds since 1970.
fn range(from: Option<u32>, to: Option<u32>) -> String {
    let bound = |name: &str, millis: Option<u32>| {
        let time = millis.map(|millis| {
            let time = chrono::DateTime::from_timestamp_millis(millis.into()).unwrap();
            format!("&{name}={}", time.format("%Y-%m-%dT%H:%M:%S%.3fZ"))
        });
        time.unwrap_or_default()
    };
    bound("created_from", from) + &bound("created_to", to)
}

/// The paths of lists with each filter, each set of statuses, ranges at the beginning, in the middle and at the end, in
/// both directions; and of orders by id.
fn paths() -> Vec<String> {
    let ranges = [
        range(None, None),
        range(Some(ROWS - 10), None),
        range(None, Some(10)),
        range(Some(ROWS / 4), Some(ROWS / 4 + 5)),
        range(Some(ROWS / 2 + 100), Some(ROWS - 100)),
    ];
    let mut paths = Vec::new();
    for filter in [
        "",
        "&product_id=large",
        "&product_id=recent",
        "&product_id=s1",
        "&product_id=none",
        "&customer_id=large",
        "&customer_id=recent",
        "&customer_id=s1",
        "&customer_id=none",
        "&external_id=e1",
        "&external_id=none",
    ] {
        for statuses in [
            "",
            "&status=delivered",
            "&status=pending",
            "&status=delivered&status=cancelled",
        ] {
            for range in &ranges {
                for direction in ["asc", "desc"] {
                    paths.push(format!(
                        "/api/v1/orders?order={direction}{filter}{statuses}{range}"
                    ));
                }
            }
        }
    }
    for count in [1, 100] {
        let ids = (1..=count).map(|i| {
            let millis = i * 2_999;
            let (high, low) = (millis >> 16, millis & 0xFFFF);
            format!("id={high:08x}-{low:04x}-7000-8000-000000000000")
        });
        let ids: Vec<_> = ids.collect();
        paths.push(format!("/api/v1/orders?{}", ids.join("&")));
    }
    paths
}

#[tokio::test]
async fn every_list_walks_an_index() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    database.execute(FEW_ROWS).await;
    database.execute(&many_rows()).await;
    let paths = paths();
    let (mut seen, mut lists) = (0, 0);
    for statistics in ["stale", "fresh"] {
        if statistics == "fresh" {
            database.execute("ANALYZE").await;
        }
        for mode in ["force_custom_plan", "force_generic_plan"] {
            log_plans(&database, mode).await;
            let server = Server::start(&database, &[]).await;
            for path in &paths {
                assert_eq!(server.status(path).await, 200, "{path}");
            }
            drop(server);
            let plans = plans(&cluster.log());
            let what = format!("{statistics} statistics, {mode}");
            for (sql, plan) in &plans[seen..] {
                // The other statements are those of background tasks.
                if sql.contains("AS page") {
                    expect_index_walks(&what, sql, plan);
                    lists += 1;
                }
            }
            seen = plans.len();
        }
    }
    assert_eq!(
        lists,
        paths.len() * 4,
        "the plan of each list is in the log"
    );
}
