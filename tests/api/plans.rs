//! No statement of the service scans a table, whatever plan the server chooses.
//!
//! `auto_explain` logs the plan of every statement that the service sends, with the rows it read.

mod planning;
mod search;

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::orders::{order, order_path, order_with_external_id};
use crate::support::server::Server;

/// The number of orders, and of readable events.
const ROWS: u32 = 400_000;
/// The limit of rows that a node of a plan reads: five walks of a page, and a margin.
const MAX_ROWS_READ: f64 = 700.0;
/// The limit of pages that a statement touches: an order or a line for each of five walks of a page; for each order of the
/// page two descents of an index of three levels, with a row each; and a margin. Index entries that a scan skips do not
/// count as rows.
const MAX_PAGES_TOUCHED: f64 = 1_400.0;

const TABLES: [&str; 8] = [
    "orders",
    "order_items",
    "events",
    "idempotency_keys",
    "feed_floors",
    "erasures",
    "erasure_orders",
    "archived_orders",
];

/// The data of every event.
const EVENT: &str = r#"{"id":"0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071","items":[{"product_id":"p","quantity":1,"unit_amount":null}],"product_id":"p","quantity":1,"currency":null,"total_amount":null,"external_id":null,"status":"pending","customer_id":null,"metadata":{},"version":1,"created_at":"2026-11-22T06:19:00.123456Z","updated_at":"2026-11-22T06:19:00.123456Z"}"#;

/// SQL that inserts, for the tenant `owner`, orders of one large product and customer, all with a status that no other
/// order has; many other orders; and events and keys. Other tenants have three orders each.
fn insert_rows(owner: &str) -> String {
    format!(
        "INSERT INTO orders (tenant, id, status, customer_id, external_id, metadata, version, created_at, updated_at,
            json_bytes)
         SELECT '{owner}', (lpad(to_hex(i), 12, '0') || '70008000000000000000')::uuid,
            CASE WHEN i <= {half} THEN 'delivered'
                ELSE (ARRAY['pending', 'confirmed', 'shipped', 'cancelled'])[1 + i % 4] END,
            CASE WHEN i <= {half} THEN 'large' WHEN i % 2 = 0 THEN 'c' || i % 5000 END,
            CASE WHEN i % 2 = 0 THEN 'external-' || i END,
            '{{}}', 1, now(), now(), 288
         FROM generate_series(1, {ROWS}) AS i;
         INSERT INTO orders (tenant, id, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
         SELECT tenant, gen_random_uuid(), 'delivered', 'large', '{{}}', 1, now(), now(), 288
         FROM (SELECT 'tenant-' || i AS tenant FROM generate_series(1, 1000) AS i
            UNION ALL SELECT 'default') AS tenants, generate_series(1, 3);
         INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
         SELECT tenant, id, 1,
            CASE WHEN status = 'delivered' THEN 'large' ELSE 'p' || row_number() OVER (ORDER BY id) % 1000 END, 1, status
         FROM orders;
         INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
         SELECT tenant, 'created', 'api_key', id, 1, position, now(), '{EVENT}', 300 FROM (
            SELECT tenant, id, row_number() OVER () / 1000 AS position FROM orders ORDER BY random()) AS shuffled;
         -- As many events that an open transaction would hold back.
         INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
         SELECT '{owner}', 'created', 'api_key', gen_random_uuid(), 1, 1000000000 + i, now(), '{EVENT}', 300
         FROM generate_series(1, {ROWS}) AS i ORDER BY random();
         INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
         SELECT tenant, sha256(('key-' || id)::bytea), id, sha256(id::text::bytea), 1, '{{}}', now() FROM orders LIMIT 100000;
         -- Many customers were erased, few wait, and many orders were archived.
         INSERT INTO erasures (tenant, id, authtype, finished_at)
         SELECT '{owner}', gen_random_uuid(), 'api_key', now() FROM generate_series(1, 50000);
         INSERT INTO erasures (tenant, id, customer_id, pseudonym, authtype, leased_until)
         SELECT '{owner}', gen_random_uuid(), 'w' || i, 'erased-' || i, 'api_key', 'infinity'
         FROM generate_series(1, 10) AS i;
         INSERT INTO erasure_orders SELECT '{owner}', id, gen_random_uuid(), 2
         FROM erasures, generate_series(1, 5000) WHERE finished_at IS NULL;
         INSERT INTO archived_orders SELECT '{owner}', gen_random_uuid(), 'large', 2, now()
         FROM generate_series(1, 100000);
         -- Retention has removed events of many tenants.
         INSERT INTO feed_floors SELECT 'tenant-' || i, -i, i, gen_random_uuid(), 1, now()
         FROM generate_series(1, 100000) AS i;
         ANALYZE",
        half = ROWS / 2
    )
}

/// Every statement in the log of the server, with its plan.
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

/// The number of rows that a node read, including those it filtered out.
fn rows_read(node: &Value) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or_default();
    let each = number("Actual Rows")
        + number("Rows Removed by Filter")
        + number("Rows Removed by Index Recheck");
    each * number("Actual Loops")
}

/// The number of pages that a node and its children touch.
fn pages_touched(node: &Value) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or_default();
    number("Shared Hit Blocks") + number("Shared Read Blocks")
}

/// Creates orders with external ids: new ones, one that is taken, and many that compete, for which the service uses the
/// statements that it needs after it has lost a race.
async fn create_with_external_ids(server: &Server) {
    for status in [201, 409] {
        let body = order_with_external_id("sku", "new");
        assert_eq!(server.post(&body).await.status(), status);
    }
    let posts = (0..60).map(|i| {
        let body = order_with_external_id("sku", &format!("compete-{}", i % 2));
        async move { server.post_with_key(&format!("compete-{i}"), &body).await }
    });
    let responses = join_all(posts).await;
    let created = responses.iter().filter(|response| response.status() == 201);
    assert_eq!(created.count(), 2);
}

/// Makes the server log the plan of every statement of new sessions, and plan with or without the parameters.
async fn log_plans(database: &Database, mode: &str) {
    let name = database.name();
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
}

/// Checks that a plan scans no table, and how much it reads.
fn expect_index_walks(mode: &str, sql: &str, plan: &Value) {
    for node in nodes(plan) {
        let scans = node["Node Type"] == "Seq Scan"
            && TABLES.iter().any(|table| node["Relation Name"] == *table);
        assert!(!scans, "{mode}: {sql}\n{plan:#}");
        let rows = rows_read(node);
        assert!(
            rows <= MAX_ROWS_READ,
            "{mode}: {rows} rows: {sql}\n{plan:#}"
        );
    }
    let pages = pages_touched(plan);
    assert!(
        pages <= MAX_PAGES_TOUCHED,
        "{mode}: {pages} pages: {sql}\n{plan:#}"
    );
}

/// Reads and writes as the tenant `default`, while `owner` has nearly all rows.
async fn expect_index_scans(mode: &str, owner: &str) {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    database.execute(&insert_rows(owner)).await;
    log_plans(&database, mode).await;
    let server = Server::start(&database, &[]).await;
    let created: Value = server.post_with_key("new", &order("sku")).await.json();
    for key in ["new", "key-00000000-0001-7000-8000-000000000000"] {
        server.post_with_key(key, &order("sku")).await;
    }
    create_with_external_ids(&server).await;
    let path = order_path(&created);
    let confirmed = server.patch(&path, &json!({"status": "confirmed"})).await;
    assert_eq!(confirmed.status(), 200);
    assert_eq!(server.status(&path).await, 200);
    assert_eq!(server.status(&format!("{path}/events")).await, 200);
    // Pages from the beginning and from a later position, and a stream.
    let mut link = "/api/v1/events?limit=1".to_owned();
    for limit in [100, 7, 1] {
        let page = server.get(&link).await;
        assert_eq!(page.status(), 200);
        let behind = page.next_link().unwrap();
        let (path, _) = behind.split_once("&limit").unwrap();
        link = format!("{path}&limit={limit}");
    }
    let mut stream = EventStream::open(&server, None).await;
    for _ in 0..4 {
        stream.next().await.unwrap();
    }
    // At the head, the process reads the events of all tenants.
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.create("sku").await;
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
    // A customer of the tenant with several orders, of which one is archived.
    for _ in 0..20 {
        let body = json!({"product_id": "sku", "quantity": 1, "customer_id": "erased"});
        assert_eq!(server.post(&body).await.status(), 201);
    }
    let archived =
        "INSERT INTO archived_orders SELECT 'default', gen_random_uuid(), 'erased', 2, now()";
    database.execute(archived).await;
    let erasure = server.delete("/api/v1/customers/erased").await;
    let erasure = erasure.header("location").to_owned();
    eventually(
        "the customer is erased",
        Duration::from_secs(30),
        async || server.get(&erasure).await.json::<Value>()["state"] == "done",
    )
    .await;
    // The lag of the feed is measured every five seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;

    let plans = plans(&cluster.log());
    for table in TABLES {
        assert!(plans.iter().any(|(sql, _)| sql.contains(table)), "{table}");
    }
    assert!(plans.len() > 45, "{}", plans.len());
    let of_race = |(sql, _): &(String, _)| sql.contains("DELETE FROM idempotency_keys");
    assert!(plans.iter().any(of_race));
    for (sql, plan) in &plans {
        expect_index_walks(mode, sql, plan);
    }
}

#[tokio::test]
async fn no_statement_scans_a_table_with_custom_plans() {
    expect_index_scans("force_custom_plan", "default").await;
}

#[tokio::test]
async fn no_statement_scans_a_table_with_generic_plans() {
    expect_index_scans("force_generic_plan", "default").await;
}

#[tokio::test]
async fn no_statement_of_a_quiet_tenant_scans_a_table_with_custom_plans() {
    expect_index_scans("force_custom_plan", "large").await;
}

#[tokio::test]
async fn no_statement_of_a_quiet_tenant_scans_a_table_with_generic_plans() {
    expect_index_scans("force_generic_plan", "large").await;
}
