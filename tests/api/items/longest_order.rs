//! The longest order that the limits permit.

use serde_json::{Map, Value, json};

use super::{create, feed};
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(
    the_longest_order_is_returned_by_every_read,
    the_longest_order_can_be_reached_with_the_default_limit_of_a_body,
    concurrent_gets_of_the_longest_orders_return_each,
);

/// The longest text of this many characters: each takes four bytes.
fn long(chars: usize, first: &str) -> String {
    format!(
        "{first}{}",
        "\u{1F600}".repeat(chars - first.chars().count())
    )
}

/// The longest lines whose total is in range.
fn lines() -> Value {
    let line = |i: i64| {
        let amount = if i % 2 == 0 {
            1_000_000_000_000_i64
        } else {
            -1_000_000_000_000
        };
        json!({"product_id": long(128, &i.to_string()), "quantity": 1_000_000, "unit_amount": amount})
    };
    (0..100).map(line).collect()
}

/// The longest metadata: JSON escapes control characters with six bytes.
fn metadata() -> Map<String, Value> {
    let value = "\u{1}".repeat(500);
    (0..50)
        .map(|i| (long(40, &i.to_string()), json!(value)))
        .collect()
}

fn longest() -> Value {
    json!({
        "items": lines(), "currency": "EUR", "customer_id": long(128, ""), "external_id": null, "metadata": metadata(),
    })
}

async fn the_longest_order_is_returned_by_every_read(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "400000")]).await;
    let created = server.post_with_key("k", &longest()).await;
    assert_eq!(created.status(), 201, "{created:?}");
    let length = created.text().len();
    assert!((210_000..256 * 1024).contains(&length), "{length}");
    let order: Value = created.json();
    for member in ["items", "customer_id", "metadata"] {
        assert_eq!(order[member], longest()[member]);
    }
    let path = order_path(&order);
    assert_eq!(server.get(&path).await.text(), created.text());
    assert_eq!(
        server.post_with_key("k", &longest()).await.text(),
        created.text()
    );
    let first = form_urlencoded::byte_serialize(long(128, "0").as_bytes()).collect::<String>();
    for list in ["limit=1".to_owned(), format!("product_id={first}")] {
        let listed: Value = server.get(&format!("/api/v1/orders?{list}")).await.json();
        assert_eq!(listed, json!([order]));
    }
    let of_order: Value = server.get(&format!("{path}/events")).await.json();
    assert_eq!(of_order[0]["data"], order);
    assert_eq!(feed(&server, 1).await[0]["data"], order);
    let confirmed: Value = server
        .patch(&path, &json!({"status": "confirmed"}))
        .await
        .json();
    assert_eq!(confirmed["items"], order["items"]);
    assert_eq!(server.get(&path).await.json::<Value>(), confirmed);
    // A page has as many as fit into 1 MiB.
    for _ in 0..5 {
        create(&server, &longest()).await;
    }
    let page = server.get("/api/v1/orders").await;
    assert_eq!(page.json::<Vec<Value>>().len(), 4);
    assert!(page.text().len() <= 1024 * 1024);
    let rest = server.get(&page.next_link().unwrap()).await;
    assert_eq!(rest.json::<Vec<Value>>().len(), 2);
}

async fn the_longest_order_can_be_reached_with_the_default_limit_of_a_body(database: Database) {
    let server = Server::start(&database, &[]).await;
    let line = json!({"product_id": "a", "quantity": 1, "unit_amount": 1});
    let short = json!({"items": [line], "currency": "EUR", "customer_id": long(128, "")});
    let path = order_path(&create(&server, &short).await);
    let mut response = server.patch(&path, &json!({"items": lines()})).await;
    assert_eq!(response.status(), 200, "{response:?}");
    for (key, value) in metadata() {
        response = server
            .patch(&path, &json!({"metadata": {key: value}}))
            .await;
        assert_eq!(response.status(), 200);
    }
    let order: Value = response.json();
    assert_eq!(order["version"], 52);
    for member in ["items", "metadata"] {
        assert_eq!(order[member], longest()[member]);
    }
    assert_eq!(server.get(&path).await.json::<Value>(), order);
}

async fn concurrent_gets_of_the_longest_orders_return_each(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "400000")]).await;
    let mut orders = Vec::new();
    for _ in 0..12 {
        orders.push(create(&server, &longest()).await);
    }
    // Together they are longer than a batch may be.
    let gets: Vec<_> = orders
        .iter()
        .map(|order| tokio::spawn(server.client.get(server.url(&order_path(order))).send()))
        .collect();
    for (get, order) in gets.into_iter().zip(&orders) {
        assert_eq!(&get.await.unwrap().unwrap().json::<Value>(), order);
    }
}
