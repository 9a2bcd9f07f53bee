//! Lists of orders: filters and pages.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::orders::{large_order, order_id, order_path};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    a_page_of_large_orders_ends_at_a_mebibyte,
    filters_combine_with_each_other_and_with_paging,
    invalid_filters_are_rejected,
    pages_read_during_inserts_skip_and_repeat_no_order,
);

/// The orders of this page and all that follow it.
async fn read_pages(server: &Server, first: &str) -> Vec<Value> {
    let mut orders = Vec::new();
    let mut path = Some(first.to_owned());
    while let Some(at) = path {
        let page = server.get(&at).await;
        orders.extend(page.json::<Vec<Value>>());
        path = page.next_link();
    }
    orders
}

async fn filters_combine_with_each_other_and_with_paging(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut all = Vec::new();
    for i in 0..36 {
        let mut body = json!({"product_id": format!("p {}", i % 2), "quantity": 1});
        if i % 3 > 0 {
            body["customer_id"] = json!(format!("c&{}", i % 3));
        }
        let mut order: Value = server.post(&body).await.json();
        if i % 4 == 0 {
            let confirmed = json!({"status": "confirmed"});
            order = server.patch(&order_path(&order), &confirmed).await.json();
        }
        all.push(order);
    }
    all.reverse();
    for status in [None, Some("confirmed"), Some("pending"), Some("shipped")] {
        for product_id in [None, Some("p 0"), Some("p 9")] {
            for customer_id in [None, Some("c&1"), Some("c&2")] {
                if product_id.is_some() && customer_id.is_some() {
                    continue;
                }
                let filters = [
                    ("status", status),
                    ("product_id", product_id),
                    ("customer_id", customer_id),
                ];
                let given: Vec<_> = filters
                    .iter()
                    .filter_map(|(k, v)| v.map(|v| (*k, v)))
                    .collect();
                let expected: Vec<_> = all
                    .iter()
                    .filter(|order| given.iter().all(|(k, v)| order[*k] == **v))
                    .cloned()
                    .collect();
                let mut query = form_urlencoded::Serializer::new("limit=5".to_owned());
                let path = format!("/api/v1/orders?{}", query.extend_pairs(&given).finish());
                assert_eq!(read_pages(&server, &path).await, expected, "{path}");
            }
        }
    }
}

async fn invalid_filters_are_rejected(database: Database) {
    let server = Server::start(&database, &[]).await;
    for (query, pointer) in [
        ("status=lost", "/status"),
        ("status=", "/status"),
        ("product_id=", "/product_id"),
        ("product_id=%00", "/product_id"),
        ("customer_id=%20", "/customer_id"),
        ("a%2Fb=1", "/a~1b"),
    ] {
        let rejected = problem(server.get(&format!("/api/v1/orders?{query}")).await);
        assert_eq!(problem_kind(&rejected), "validation-failed", "{query}");
        assert_eq!(rejected["errors"][0]["pointer"], pointer);
    }
}

/// SQL that inserts orders which are older than any that the service creates.
fn insert_older_orders(database: &Database, rows: u32) -> String {
    if database.is_postgres() {
        format!(
            "INSERT INTO orders (tenant, id, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
             SELECT 'default', (lpad(to_hex(i), 12, '0') || '70008000000000000000')::uuid,
                (ARRAY['pending', 'confirmed', 'shipped', 'delivered', 'cancelled'])[1 + i % 5],
                CASE WHEN i % 2 = 0 THEN 'c' || i % 5000 END, '{{}}', 1, now(), now(), 288
             FROM generate_series(1, {rows}) AS i;
             INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
             SELECT tenant, id, 1, 'p' || row_number() OVER (ORDER BY id) % 1000, 1, status FROM orders
             WHERE created_at = now()"
        )
    } else {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO orders (tenant, id, status, metadata, version, created_at, updated_at, json_bytes)
             SELECT 'default', CAST(printf('%06d', i) || '7890123456' AS BLOB), 'pending', '{{}}', 1, 0, 0, 288 FROM n;
             INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
             SELECT tenant, id, 1, 'p', 1, status FROM orders WHERE created_at = 0"
        )
    }
}

async fn pages_read_during_inserts_skip_and_repeat_no_order(database: Database) {
    let server = Arc::new(Server::start(&database, &[]).await);
    database
        .execute(&insert_older_orders(&database, 100_000))
        .await;
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (server, done) = (Arc::clone(&server), Arc::clone(&done));
            tokio::spawn(async move {
                let mut created = 0;
                while !done.load(Ordering::Relaxed) {
                    server.create("meanwhile").await;
                    created += 1;
                }
                created
            })
        })
        .collect();
    let orders = read_pages(&server, "/api/v1/orders").await;
    done.store(true, Ordering::Relaxed);
    let mut created = 0;
    for writer in writers {
        created += writer.await.unwrap();
    }
    assert!(created > 0);
    let ids: Vec<_> = orders
        .iter()
        .map(|order| order["id"].as_str().unwrap())
        .collect();
    assert!(
        ids.is_sorted_by(|newer, older| newer > older),
        "newest first, each once"
    );
    let old = orders
        .iter()
        .filter(|order| order["product_id"] != "meanwhile")
        .count();
    assert_eq!(old, 100_000);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}

async fn a_page_of_large_orders_ends_at_a_mebibyte(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "200000")]).await;
    let mut created = Vec::new();
    for _ in 0..25 {
        let order: Value = server.post(&large_order(50)).await.json();
        created.push(order_id(&order).to_owned());
    }
    created.reverse();
    for filter in ["", "&product_id=large", "&product_id=large&status=pending"] {
        let mut path = Some(format!("/api/v1/orders?limit=100{filter}"));
        let mut seen = Vec::new();
        while let Some(at) = path {
            let page = server.get(&at).await;
            let length = page.text().len();
            assert!(length <= 1024 * 1024, "{length}");
            let orders: Vec<Value> = page.json();
            assert!(!orders.is_empty() || seen.len() == created.len());
            // Ten fit into a mebibyte, less than the limit of 100 orders.
            assert!(orders.len() == 10 || seen.len() + orders.len() == created.len());
            seen.extend(
                orders
                    .iter()
                    .map(|order| order["id"].as_str().unwrap().to_owned()),
            );
            path = page.next_link();
        }
        assert_eq!(seen, created);
    }
}
