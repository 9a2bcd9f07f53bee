//! No statement of the service scans a table, whatever plan the server chooses.
//!
//! `auto_explain` logs the plan of every statement that the service sends, with what it read.

use std::time::Duration;

use serde_json::{Value, json};

use super::lists::next;
use crate::support::database::{Cluster, Database};
use crate::support::server::{Server, migrate};
use crate::support::sse::Stream;

/// How many orders and events there are.
const ROWS: u32 = 400_000;
/// The most rows that one statement may look at: five walks of a page, and some.
const MOST_ROWS: f64 = 700.0;
/// The most pages that one statement may touch: one for each row, and some for the way down the indexes. Entries
/// of an index that a scan passes over are in no number of rows.
const MOST_PAGES: f64 = 800.0;

/// The data of an event; the same for all.
const EVENT: &str = r#"{"id":"0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071","product_id":"p","quantity":1,"status":"pending","customer_id":null,"metadata":{},"version":1,"created_at":"2026-11-22T06:19:00.123456Z","updated_at":"2026-11-22T06:19:00.123456Z"}"#;

/// Orders of two products and two customers that do not overlap in their status, and many others.
fn fill() -> String {
    format!(
        "INSERT INTO orders (id, product_id, quantity, status, customer_id, metadata, version, created_at,
            updated_at, json_bytes)
         SELECT (lpad(to_hex(i), 12, '0') || '70008000000000000000')::uuid,
            CASE WHEN i <= {half} THEN 'large' ELSE 'p' || i % 1000 END, 1,
            CASE WHEN i <= {half} THEN 'delivered'
                ELSE (ARRAY['pending', 'confirmed', 'shipped', 'cancelled'])[1 + i % 4] END,
            CASE WHEN i <= {half} THEN 'large' WHEN i % 2 = 0 THEN 'c' || i % 5000 END,
            '{{}}', 1, now(), now(), 288
         FROM generate_series(1, {ROWS}) AS i;
         INSERT INTO events (order_id, version, position, occurred_at, data, data_bytes)
         SELECT id, 1, position, now(), '{EVENT}', 300 FROM (
            SELECT id, row_number() OVER () / 1000 AS position FROM orders ORDER BY random()) AS shuffled;
         -- A slow transaction holds back as many again.
         INSERT INTO events (order_id, version, position, occurred_at, data, data_bytes)
         SELECT gen_random_uuid(), 1, 1000000000 + i, now(), '{EVENT}', 300
         FROM generate_series(1, {ROWS}) AS i ORDER BY random();
         INSERT INTO idempotency_keys (key, order_id, request_hash, hash_version, document, created_at)
         SELECT 'key-' || id, id, sha256(id::text::bytea), 1, '{{}}', now() FROM orders LIMIT 100000;
         ANALYZE",
        half = ROWS / 2
    )
}

/// Every plan in the log of the server: the statement and the tree.
fn plans(log: &str) -> Vec<(String, Value)> {
    log.split("plan:\n")
        .skip(1)
        .filter_map(|text| {
            let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
            let plan = values.next()?.ok()?;
            Some((
                plan["Query Text"].as_str()?.to_owned(),
                plan["Plan"].clone(),
            ))
        })
        .collect()
}

/// Every node of a plan.
fn nodes(plan: &Value) -> Vec<&Value> {
    let children = plan["Plans"].as_array().into_iter().flatten();
    std::iter::once(plan)
        .chain(children.flat_map(|child| nodes(child)))
        .collect()
}

/// What a node looked at, whether or not it fits.
fn rows_read(node: &Value) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or_default();
    let each = number("Actual Rows")
        + number("Rows Removed by Filter")
        + number("Rows Removed by Index Recheck");
    each * number("Actual Loops")
}

/// How many pages a node and those below it touched.
fn pages_touched(node: &Value) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or_default();
    number("Shared Hit Blocks") + number("Shared Read Blocks")
}

async fn every_statement_is_an_index_walk(mode: &str) {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    migrate(&database);
    database.execute(&fill()).await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_buffers = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_format = json",
        &format!("plan_cache_mode = {mode}"),
    ] {
        database
            .execute(&format!("ALTER DATABASE {name} SET {setting}"))
            .await;
    }
    let server = Server::start(&database, &[]).await;
    let keyed = server
        .client
        .post(server.url("/api/v1/orders"))
        .json(&json!({"product_id": "sku", "quantity": 1}))
        .header("idempotency-key", "new");
    let order: Value = keyed.send().await.unwrap().json();
    for key in ["new", "key-00000000-0001-7000-8000-000000000000"] {
        let again = server
            .client
            .post(server.url("/api/v1/orders"))
            .json(&json!({"product_id": "sku", "quantity": 1}))
            .header("idempotency-key", key);
        again.send().await.unwrap();
    }
    let id = order["id"].as_str().unwrap();
    let path = format!("/api/v1/orders/{id}");
    let patch = server.client.patch(server.url(&path));
    let patch = patch.json(&json!({"status": "confirmed"}));
    assert_eq!(patch.send().await.unwrap().status(), 200);
    assert_eq!(server.status(&path).await, 200);
    assert_eq!(server.status(&format!("{path}/events")).await, 200);
    // Pages from the beginning and from a place in between, and a stream.
    let mut link = "/api/v1/events?limit=1".to_owned();
    for limit in [100, 7, 1] {
        let page = server.get(&link).await;
        assert_eq!(page.status(), 200);
        let behind = next(&page).unwrap();
        let (path, _) = behind.split_once("&limit").unwrap();
        link = format!("{path}&limit={limit}");
    }
    let mut stream = Stream::open(&server, None).await;
    for _ in 0..100 {
        stream.next().await.unwrap();
    }
    drop(stream);
    for filter in [
        "",
        "&status=pending",
        "&status=delivered",
        "&product_id=large",
        "&product_id=large&status=pending",
        "&product_id=p7&status=cancelled",
        "&product_id=none",
        "&customer_id=large",
        "&customer_id=large&status=pending",
        "&customer_id=c10",
    ] {
        for after in ["", "&starting_after=00000000-c350-7000-8000-000000000000"] {
            for limit in [1, 100] {
                let path = format!("/api/v1/orders?limit={limit}{filter}{after}");
                assert_eq!(server.status(&path).await, 200, "{path}");
            }
        }
    }
    assert_eq!(server.status("/readyz").await, 200);
    // The lag of the feed is measured every five seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;

    let plans = plans(&cluster.log());
    let tables = ["orders", "events", "idempotency_keys"];
    for table in tables {
        assert!(plans.iter().any(|(sql, _)| sql.contains(table)), "{table}");
    }
    assert!(plans.len() > 45, "{}", plans.len());
    for (sql, plan) in &plans {
        for node in nodes(plan) {
            let scans = node["Node Type"] == "Seq Scan"
                && tables.iter().any(|table| node["Relation Name"] == *table);
            assert!(!scans, "{mode}: {sql}\n{plan:#}");
            let rows = rows_read(node);
            assert!(rows <= MOST_ROWS, "{mode}: {rows} rows: {sql}\n{plan:#}");
        }
        let pages = pages_touched(plan);
        assert!(
            pages <= MOST_PAGES,
            "{mode}: {pages} pages: {sql}\n{plan:#}"
        );
    }
}

#[tokio::test]
async fn every_statement_is_an_index_walk_with_custom_plans() {
    every_statement_is_an_index_walk("force_custom_plan").await;
}

#[tokio::test]
async fn every_statement_is_an_index_walk_with_generic_plans() {
    every_statement_is_an_index_walk("force_generic_plan").await;
}
