//! The filter by product, for orders of several lines.

use serde_json::{Value, json};

use super::create;
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(
    an_order_is_listed_once_for_each_of_its_products,
    a_product_in_several_lines_lists_the_order_once_in_every_status,
    replaced_lines_move_the_order_to_the_lists_of_their_products,
    pages_by_product_have_all_lines_of_their_orders,
);

/// A body with one line for each product.
fn basket(products: &[&str]) -> Value {
    let lines: Vec<_> = products
        .iter()
        .map(|product| json!({"product_id": product, "quantity": 1}))
        .collect();
    json!({"items": lines})
}

async fn list(server: &Server, query: &str) -> Value {
    server.get(&format!("/api/v1/orders?{query}")).await.json()
}

async fn an_order_is_listed_once_for_each_of_its_products(database: Database) {
    let server = Server::start(&database, &[]).await;
    let ab = create(&server, &basket(&["a", "b"])).await;
    let ba = create(&server, &basket(&["b", "c", "a"])).await;
    let bb = create(&server, &basket(&["b", "b", "b"])).await;
    for status in ["", "&status=pending"] {
        for (product, expected) in [
            ("a", json!([ba, ab])),
            ("b", json!([bb, ba, ab])),
            ("c", json!([ba])),
            ("d", json!([])),
        ] {
            let query = format!("product_id={product}{status}");
            assert_eq!(list(&server, &query).await, expected, "{query}");
        }
    }
}

async fn a_product_in_several_lines_lists_the_order_once_in_every_status(database: Database) {
    let server = Server::start(&database, &[]).await;
    let all = ["pending", "confirmed", "shipped", "delivered", "cancelled"];
    for ending in [
        &["confirmed", "shipped", "delivered"][..],
        &["confirmed", "cancelled"],
        &["cancelled"],
    ] {
        let order = create(&server, &basket(&["a", "b", "a", "b", "a"])).await;
        let path = order_path(&order);
        for status in [&["pending"], ending].concat() {
            let current: Value = server.patch(&path, &json!({"status": status})).await.json();
            assert_eq!(current["status"], status);
            for product in ["a", "b"] {
                assert_eq!(
                    list(&server, &format!("product_id={product}&limit=1")).await,
                    json!([current])
                );
                for other in all {
                    let query = format!("product_id={product}&status={other}");
                    let listed = list(&server, &query).await;
                    let found = listed
                        .as_array()
                        .unwrap()
                        .iter()
                        .filter(|found| found["id"] == order["id"]);
                    assert_eq!(found.count(), usize::from(other == status), "{query}");
                }
            }
        }
    }
}

async fn replaced_lines_move_the_order_to_the_lists_of_their_products(database: Database) {
    let server = Server::start(&database, &[]).await;
    let order = create(&server, &basket(&["a", "b", "c"])).await;
    for products in [
        &["b", "d"][..],
        &["d", "b", "d", "b"],
        &["c"],
        &["b", "a", "c"],
    ] {
        let after: Value = server
            .patch(&order_path(&order), &basket(products))
            .await
            .json();
        for product in ["a", "b", "c", "d"] {
            let expected = if products.contains(&product) {
                json!([after])
            } else {
                json!([])
            };
            for query in [
                format!("product_id={product}"),
                format!("product_id={product}&status=pending"),
            ] {
                assert_eq!(
                    list(&server, &query).await,
                    expected,
                    "{products:?} {query}"
                );
            }
        }
    }
}

async fn pages_by_product_have_all_lines_of_their_orders(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut created = Vec::new();
    for i in 0..23 {
        let other = format!("p{i}");
        created.push(create(&server, &basket(&["x", &other, "shared", "x", "shared"])).await);
    }
    created.reverse();
    let (mut seen, mut path) = (
        Vec::new(),
        Some("/api/v1/orders?product_id=shared&limit=5".to_owned()),
    );
    while let Some(at) = path {
        let page = server.get(&at).await;
        seen.extend(page.json::<Vec<Value>>());
        path = page.next_link();
    }
    assert_eq!(seen, created);
}
