use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::server::{Server, problem, slug};

crate::on_both!(
    a_placed_order_is_as_the_contract_says,
    an_order_is_found_by_its_id,
    lists_are_newest_first_and_paged_by_links,
    a_page_size_is_coerced_or_refused,
    every_legal_text_comes_back_as_it_was,
);

async fn a_placed_order_is_as_the_contract_says(database: Database) {
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
            "id": id, "product_id": "sku-1", "quantity": 3, "status": "pending",
            "customer_id": "customer-7", "metadata": {"a": "1", "b": "2"}, "version": 1,
            "created_at": created_at, "updated_at": created_at,
        })
    );
    let plain = server.place("sku-2").await;
    assert_eq!(plain["customer_id"], Value::Null);
    assert_eq!(plain["metadata"], json!({}));
}

async fn an_order_is_found_by_its_id(database: Database) {
    let server = Server::start(&database, &[]).await;
    let order = server.place("sku-1").await;
    let path = format!("/api/v1/orders/{}", order["id"].as_str().unwrap());
    let response = server.get(&path).await;
    assert_eq!(response.headers()["etag"], "\"1\"");
    assert_eq!(response.json::<Value>(), order);

    // Encoded or not, it is the same id (RFC 3986, section 6.2.2.2).
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
            (slug(&missing), &missing["status"]),
            ("not-found", &json!(404)),
            "{id}"
        );
    }
}

async fn lists_are_newest_first_and_paged_by_links(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut placed = Vec::new();
    for i in 0..7 {
        placed.push(server.place(&format!("sku-{i}")).await["id"].clone());
    }
    placed.reverse();

    let whole = server.get("/api/v1/orders").await;
    assert_eq!(whole.headers()["content-type"], "application/json");
    assert!(whole.headers().get("link").is_none());
    assert_eq!(ids(&whole.json()), placed);

    let mut seen = Vec::new();
    let mut next = Some("/api/v1/orders?limit=3".to_owned());
    let mut pages = 0;
    while let Some(path) = next {
        let page = server.get(&path).await;
        next = page
            .headers()
            .get("link")
            .map(|link| next_link(link.to_str().unwrap()));
        seen.extend(ids(&page.json()));
        pages += 1;
    }
    assert_eq!((seen, pages), (placed, 3));
}

async fn a_page_size_is_coerced_or_refused(database: Database) {
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
        let refused = problem(server.get(&format!("/api/v1/orders?{query}")).await);
        assert_eq!(slug(&refused), "validation-failed", "{query}");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{query}");
    }
}

async fn every_legal_text_comes_back_as_it_was(database: Database) {
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

fn ids(page: &Value) -> Vec<Value> {
    page.as_array()
        .unwrap()
        .iter()
        .map(|order| order["id"].clone())
        .collect()
}

fn next_link(link: &str) -> String {
    let (target, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(rest, "; rel=\"next\"");
    target.to_owned()
}
