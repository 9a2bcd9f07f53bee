//! Creating, getting and listing orders.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    a_created_order_has_the_members_and_headers_of_the_contract,
    an_order_is_returned_by_its_id_and_unknown_ids_are_404,
    lists_are_newest_first_and_their_links_lead_through_all_pages,
    a_large_page_size_is_lowered_and_an_invalid_one_is_rejected,
    every_valid_text_is_returned_unchanged,
);

async fn a_created_order_has_the_members_and_headers_of_the_contract(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = json!({
        "product_id": "sku-1", "quantity": 3, "customer_id": "customer-7",
        "metadata": {"b": "2", "a": "1"},
    });
    let response = server.post(&body).await;
    assert_eq!(response.status(), 201);
    let headers = response.headers().clone();
    let order: Value = response.json();
    let id = order["id"].as_str().unwrap();
    assert_eq!(id.as_bytes()[14], b'7', "a UUIDv7: {id}");
    assert_eq!(headers["location"], format!("/api/v1/orders/{id}"));
    assert_eq!(headers["etag"], "\"1\"");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let created_at = order["created_at"].as_str().unwrap();
    assert_eq!(created_at.len(), "2026-11-22T06:19:00.123456Z".len());
    assert!(created_at.ends_with('Z'));
    assert_eq!(
        order,
        json!({
            "id": id, "items": [{"product_id": "sku-1", "quantity": 3, "unit_amount": null}],
            "product_id": "sku-1", "quantity": 3, "currency": null, "total_amount": null,
            "external_id": null, "status": "pending", "customer_id": "customer-7", "metadata": {"a": "1", "b": "2"}, "version": 1,
            "created_at": created_at, "updated_at": created_at,
        })
    );
    let plain = server.create("sku-2").await;
    assert_eq!(plain["customer_id"], Value::Null);
    assert_eq!(plain["metadata"], json!({}));
}

async fn an_order_is_returned_by_its_id_and_unknown_ids_are_404(database: Database) {
    let server = Server::start(&database, &[]).await;
    let order = server.create("sku-1").await;
    let path = order_path(&order);
    let response = server.get(&path).await;
    assert_eq!(response.headers()["etag"], "\"1\"");
    assert_eq!(response.json::<Value>(), order);

    // Percent-encoding does not change the id (RFC 3986, section 6.2.2.2).
    let encoded = path.replacen("orders/0", "orders/%30", 1);
    assert_ne!(encoded, path);
    assert_eq!(server.get(&encoded).await.json::<Value>(), order);

    let head = server.client.head(server.url(&path)).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.text(), "");

    for id in [
        "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071",
        "7",
        "%00",
        "%ff",
        "..%2f",
        ":id",
    ] {
        let missing = problem(server.get(&format!("/api/v1/orders/{id}")).await);
        assert_eq!(
            (problem_kind(&missing), &missing["status"]),
            ("not-found", &json!(404)),
            "{id}"
        );
    }
}

async fn lists_are_newest_first_and_their_links_lead_through_all_pages(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut created = Vec::new();
    for i in 0..7 {
        created.push(server.create(&format!("sku-{i}")).await["id"].clone());
    }
    created.reverse();

    let single_page = server.get("/api/v1/orders").await;
    assert_eq!(single_page.headers()["content-type"], "application/json");
    assert!(single_page.headers().get("link").is_none());
    assert_eq!(ids(&single_page.json()), created);

    let mut seen = Vec::new();
    let mut next = Some("/api/v1/orders?limit=3".to_owned());
    let mut pages = 0;
    while let Some(path) = next {
        let page = server.get(&path).await;
        next = page.next_link();
        seen.extend(ids(&page.json()));
        pages += 1;
    }
    assert_eq!((seen, pages), (created, 3));
}

async fn a_large_page_size_is_lowered_and_an_invalid_one_is_rejected(database: Database) {
    let server = Server::start(&database, &[]).await;
    for query in [
        "limit=1",
        "limit=100",
        "limit=101",
        "limit=99999999999999999999",
    ] {
        assert_eq!(
            server.status(&format!("/api/v1/orders?{query}")).await,
            200,
            "{query}"
        );
    }
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("starting_after=7", "/starting_after"),
        ("starting_after=", "/starting_after"),
        ("page=2", "/page"),
        ("%00=%ff", "/\0"),
    ] {
        let rejected = problem(server.get(&format!("/api/v1/orders?{query}")).await);
        assert_eq!(problem_kind(&rejected), "validation-failed", "{query}");
        assert_eq!(rejected["errors"][0]["pointer"], pointer, "{query}");
    }
}

async fn every_valid_text_is_returned_unchanged(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut ids = HashSet::new();
    for text in [
        "'; DROP TABLE orders; --",
        "日本語 \u{1F600}",
        "\"\\/",
        "%s$1?",
        "é\u{301}",
    ] {
        let body = json!({
            "product_id": text, "quantity": 1_000_000, "customer_id": text,
            "metadata": {text: format!("{text}\n\t")},
        });
        let order: Value = server.post(&body).await.json();
        let id = order["id"].as_str().unwrap();
        let read: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
        assert_eq!(read, order);
        for member in ["product_id", "customer_id", "metadata"] {
            assert_eq!(read[member], body[member]);
        }
        assert!(ids.insert(id.to_owned()));
    }
}

/// The ids of the orders in a page.
fn ids(page: &Value) -> Vec<Value> {
    page.as_array()
        .unwrap()
        .iter()
        .map(|order| order["id"].clone())
        .collect()
}
