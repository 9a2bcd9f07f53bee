use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::database::Database;
use crate::support::server::{Server, problem, slug};

crate::on_both!(
    a_page_of_large_orders_ends_at_a_mebibyte,
    filters_combine_and_page,
    bad_filters_are_422,
    a_walk_under_inserts_neither_skips_nor_repeats,
);

pub fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers().get("link")?.to_str().unwrap();
    let (target, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(rest, "; rel=\"next\"");
    Some(target.to_owned())
}

async fn walk(server: &Server, first: &str) -> Vec<Value> {
    let mut orders = Vec::new();
    let mut path = Some(first.to_owned());
    while let Some(at) = path {
        let page = server.get(&at).await;
        orders.extend(page.json::<Vec<Value>>());
        path = next(&page);
    }
    orders
}

async fn filters_combine_and_page(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut all = Vec::new();
    for i in 0..36 {
        let mut body = json!({"product_id": format!("p {}", i % 2), "quantity": 1});
        if i % 3 > 0 {
            body["customer_id"] = json!(format!("c&{}", i % 3));
        }
        let mut order: Value = server.post(&body).await.json();
        if i % 4 == 0 {
            let url = server.url(&format!("/api/v1/orders/{}", order["id"].as_str().unwrap()));
            let patch = server
                .client
                .patch(url)
                .json(&json!({"status": "confirmed"}));
            order = patch.send().await.unwrap().json();
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
                assert_eq!(walk(&server, &path).await, expected, "{path}");
            }
        }
    }
}

async fn bad_filters_are_422(database: Database) {
    let server = Server::start(&database, &[]).await;
    for (query, pointer) in [
        ("status=lost", "/status"),
        ("status=", "/status"),
        ("status=pending&status=shipped", "/status"),
        ("product_id=", "/product_id"),
        ("product_id=%00", "/product_id"),
        ("customer_id=%20", "/customer_id"),
        ("a%2Fb=1", "/a~1b"),
    ] {
        let refused = problem(server.get(&format!("/api/v1/orders?{query}")).await);
        assert_eq!(slug(&refused), "validation-failed", "{query}");
        assert_eq!(refused["errors"][0]["pointer"], pointer);
    }
}

/// SQL that fills the table with orders that are older than any the service places.
fn fill(database: &Database, rows: u32) -> String {
    if database.is_postgres() {
        format!(
            "INSERT INTO orders (id, product_id, quantity, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
             SELECT (lpad(to_hex(i), 12, '0') || '70008000000000000000')::uuid, 'p' || i % 1000, 1,
                (ARRAY['pending', 'confirmed', 'shipped', 'delivered', 'cancelled'])[1 + i % 5],
                CASE WHEN i % 2 = 0 THEN 'c' || i % 5000 END, '{{}}', 1, now(), now(), 288
             FROM generate_series(1, {rows}) AS i"
        )
    } else {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO orders (id, product_id, quantity, status, metadata, version, created_at, updated_at, json_bytes)
             SELECT CAST(printf('%06d', i) || '7890123456' AS BLOB), 'p', 1, 'pending', '{{}}', 1, 0, 0, 288 FROM n"
        )
    }
}

async fn a_walk_under_inserts_neither_skips_nor_repeats(database: Database) {
    let server = Arc::new(Server::start(&database, &[]).await);
    database.execute(&fill(&database, 100_000)).await;
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (server, done) = (Arc::clone(&server), Arc::clone(&done));
            tokio::spawn(async move {
                let mut placed = 0;
                while !done.load(Ordering::Relaxed) {
                    server.place("meanwhile").await;
                    placed += 1;
                }
                placed
            })
        })
        .collect();
    let orders = walk(&server, "/api/v1/orders").await;
    done.store(true, Ordering::Relaxed);
    let mut placed = 0;
    for writer in writers {
        placed += writer.await.unwrap();
    }
    assert!(placed > 0);
    let ids: Vec<_> = orders
        .iter()
        .map(|order| order["id"].as_str().unwrap())
        .collect();
    assert!(
        ids.is_sorted_by(|newer, older| newer > older),
        "newest first, none twice"
    );
    let old = orders
        .iter()
        .filter(|order| order["product_id"] != "meanwhile")
        .count();
    assert_eq!(old, 100_000);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}

/// 50 entries of 500 characters that take four bytes each.
fn large_order() -> Value {
    let metadata: serde_json::Map<_, _> = (0..50)
        .map(|i| (format!("key-{i}"), json!("\u{1F600}".repeat(500))))
        .collect();
    json!({"product_id": "large", "quantity": 1, "metadata": metadata})
}

async fn a_page_of_large_orders_ends_at_a_mebibyte(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "200000")]).await;
    let mut placed = Vec::new();
    for _ in 0..25 {
        let order: Value = server.post(&large_order()).await.json();
        placed.push(order["id"].as_str().unwrap().to_owned());
    }
    placed.reverse();
    for filter in ["", "&product_id=large", "&product_id=large&status=pending"] {
        let mut path = Some(format!("/api/v1/orders?limit=100{filter}"));
        let mut seen = Vec::new();
        while let Some(at) = path {
            let page = server.get(&at).await;
            let length = page.text().len();
            assert!(length <= 1024 * 1024, "{length}");
            let orders: Vec<Value> = page.json();
            assert!(!orders.is_empty() || seen.len() == placed.len());
            // Ten fit, whatever the limit says.
            assert!(orders.len() == 10 || seen.len() + orders.len() == placed.len());
            seen.extend(
                orders
                    .iter()
                    .map(|order| order["id"].as_str().unwrap().to_owned()),
            );
            path = next(&page);
        }
        assert_eq!(seen, placed);
    }
}
