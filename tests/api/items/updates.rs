//! Updates of the lines of an order.

use serde_json::{Value, json};

use super::{create, pointers};
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    items_are_replaced_as_a_whole,
    items_change_only_while_the_order_is_pending,
    items_that_are_the_same_change_nothing,
    quantity_is_that_of_the_only_line,
    new_items_must_have_amounts_exactly_if_the_order_has_a_currency,
    invalid_items_are_rejected_before_the_order_is_looked_up,
    one_patch_may_change_items_status_and_metadata,
);

fn line(product: &str, quantity: i64, amount: i64) -> Value {
    json!({"product_id": product, "quantity": quantity, "unit_amount": amount})
}

/// A new order with the lines, in euros.
async fn euros(server: &Server, items: Value) -> Value {
    create(server, &json!({"items": items, "currency": "EUR"})).await
}

async fn items_are_replaced_as_a_whole(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut order = euros(&server, json!([line("a", 1, 10), line("b", 2, 20)])).await;
    let path = order_path(&order);
    let hundred: Vec<_> = (0..100)
        .map(|i| line(&format!("p{}", i % 7), 1, i))
        .collect();
    for (items, total) in [
        // More lines, fewer, one, and other products in the same lines.
        (json!(hundred), 4950),
        (
            json!([line("b", 1, 5), line("a", 1, 5), line("b", 1, -5)]),
            5,
        ),
        (json!([line("c", 3, 7)]), 21),
        (json!([line("d", 3, 7)]), 21),
        (json!([line("d", 3, 7), line("d", 3, 7)]), 42),
    ] {
        let response = server.patch(&path, &json!({"items": items})).await;
        assert_eq!(response.status(), 200, "{response:?}");
        let after: Value = response.json();
        let version = order["version"].as_i64().unwrap() + 1;
        assert_eq!(response.header("etag"), format!("\"{version}\""));
        let single = items
            .as_array()
            .filter(|lines| lines.len() == 1)
            .map(|lines| &lines[0]);
        let member = |name: &str| single.map_or(Value::Null, |line| line[name].clone());
        let mut expected = order.clone();
        expected["items"] = items.clone();
        expected["total_amount"] = json!(total);
        expected["product_id"] = member("product_id");
        expected["quantity"] = member("quantity");
        expected["version"] = json!(version);
        expected["updated_at"] = after["updated_at"].clone();
        assert_eq!(after, expected);
        assert_eq!(server.get(&path).await.json::<Value>(), after);
        let stored = items.as_array().unwrap().len();
        assert_eq!(
            usize::try_from(database.count("order_items").await),
            Ok(stored)
        );
        order = after;
    }
}

async fn items_change_only_while_the_order_is_pending(database: Database) {
    let server = Server::start(&database, &[]).await;
    let paths: &[&[&str]] = &[
        &["confirmed"],
        &["confirmed", "shipped"],
        &["confirmed", "shipped", "delivered"],
        &["cancelled"],
    ];
    for steps in paths {
        let order = euros(&server, json!([line("a", 1, 10), line("b", 2, 20)])).await;
        let path = order_path(&order);
        for status in *steps {
            let response = server.patch(&path, &json!({"status": status})).await;
            assert_eq!(response.status(), 200);
        }
        let before: Value = server.get(&path).await.json();
        assert_eq!(before["items"], order["items"]);
        for items in [
            json!([line("a", 1, 10)]),
            json!([line("b", 2, 20), line("a", 1, 10)]),
        ] {
            let rejected = problem(server.patch(&path, &json!({"items": items})).await);
            assert_eq!(problem_kind(&rejected), "order-not-editable", "{steps:?}");
            assert_eq!(rejected["status"], 409);
        }
        assert_eq!(server.get(&path).await.json::<Value>(), before);
    }
}

async fn items_that_are_the_same_change_nothing(database: Database) {
    let server = Server::start(&database, &[]).await;
    let items = json!([line("a", 1, 10), line("b", 2, 20)]);
    let order = euros(&server, items.clone()).await;
    let path = order_path(&order);
    let same = server.patch(&path, &json!({"items": items})).await;
    assert_eq!((same.status(), same.header("etag")), (200, "\"1\""));
    assert_eq!(same.json::<Value>(), order);
    // Also when the lines could not change any more.
    let confirmed: Value = server
        .patch(&path, &json!({"status": "confirmed"}))
        .await
        .json();
    let same = server.patch(&path, &json!({"items": items})).await;
    assert_eq!((same.status(), same.json::<Value>()), (200, confirmed));
    // A line without an amount in both forms.
    let plain = create(&server, &json!({"product_id": "a", "quantity": 1})).await;
    let body = json!({"items": [{"product_id": "a", "quantity": 1.0, "unit_amount": null}]});
    let same = server.patch(&order_path(&plain), &body).await;
    assert_eq!((same.status(), same.json::<Value>()), (200, plain));
    assert_eq!(database.count("events").await, 3);
}

async fn quantity_is_that_of_the_only_line(database: Database) {
    let server = Server::start(&database, &[]).await;
    let single = euros(&server, json!([line("a", 1, 10)])).await;
    let path = order_path(&single);
    let after: Value = server.patch(&path, &json!({"quantity": 5})).await.json();
    assert_eq!(after["items"], json!([line("a", 5, 10)]));
    assert_eq!(
        (&after["quantity"], &after["total_amount"]),
        (&json!(5), &json!(50))
    );
    // Together with items, even with the same meaning.
    let both = json!({"quantity": 5, "items": [line("a", 5, 10)]});
    assert_eq!(pointers(server.patch(&path, &both).await), ["/quantity"]);
    let both = json!({"quantity": 0, "items": [line("a", 5, 10), line("", 5, 10)]});
    let found = pointers(server.patch(&path, &both).await);
    assert_eq!(found, ["/quantity", "/items/1/product_id", "/quantity"]);
    assert_eq!(server.get(&path).await.json::<Value>(), after);

    let several = euros(&server, json!([line("a", 1, 10), line("a", 1, 10)])).await;
    let path = order_path(&several);
    let response = server.patch(&path, &json!({"quantity": 1})).await;
    assert_eq!(pointers(response), ["/quantity"]);
    assert_eq!(server.get(&path).await.json::<Value>(), several);

    // A total that would be too large.
    let dear = euros(&server, json!([line("a", 1, 1_000_000_000_000)])).await;
    let path = order_path(&dear);
    assert_eq!(
        server
            .patch(&path, &json!({"quantity": 9_007}))
            .await
            .status(),
        200
    );
    let response = server.patch(&path, &json!({"quantity": 9_008})).await;
    assert_eq!(pointers(response), ["/quantity"]);
}

async fn new_items_must_have_amounts_exactly_if_the_order_has_a_currency(database: Database) {
    let server = Server::start(&database, &[]).await;
    let priced = euros(&server, json!([line("a", 1, 10)])).await;
    let plain = create(&server, &json!({"product_id": "a", "quantity": 1})).await;
    let without = json!([{"product_id": "b", "quantity": 1}]);
    for (order, items) in [
        (&priced, without.clone()),
        (&plain, json!([line("b", 1, 0)])),
    ] {
        let response = server
            .patch(&order_path(order), &json!({"items": items}))
            .await;
        assert_eq!(pointers(response), ["/items"], "{items}");
        assert_eq!(&server.get(&order_path(order)).await.json::<Value>(), order);
    }
    let after: Value = server
        .patch(&order_path(&plain), &json!({"items": without}))
        .await
        .json();
    assert_eq!(
        (&after["product_id"], &after["total_amount"]),
        (&json!("b"), &Value::Null)
    );
    // The currency and the reference of an order do not change, and a total is computed.
    for body in [
        json!({"currency": "USD"}),
        json!({"currency": null}),
        json!({"unit_amount": 1}),
        json!({"total_amount": 1}),
        json!({"external_id": "x"}),
        json!({"product_id": "b"}),
    ] {
        let pointer = format!("/{}", body.as_object().unwrap().keys().next().unwrap());
        assert_eq!(
            pointers(server.patch(&order_path(&priced), &body).await),
            [pointer],
            "{body}"
        );
    }
}

async fn invalid_items_are_rejected_before_the_order_is_looked_up(database: Database) {
    let server = Server::start(&database, &[]).await;
    let order = euros(&server, json!([line("a", 1, 10)])).await;
    let absent = "/api/v1/orders/0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071".to_owned();
    let bad = line("a", 1_000_001, 1);
    for path in [order_path(&order), absent.clone()] {
        for (items, pointer) in [
            (json!([]), "/items"),
            (json!(null), "/items"),
            (json!({}), "/items"),
            (json!(vec![line("a", 1, 1); 101]), "/items"),
            (json!([line("a", 1, 1), bad]), "/items/1/quantity"),
            (json!([line("a", 1, 1), ["a", 1, 1]]), "/items/1"),
            (
                json!([line("a", 1, 1), {"product_id": "a", "quantity": 1}]),
                "/items/1/unit_amount",
            ),
            (json!([line("a", 1, -1)]), "/items"),
            (json!([line("a", 9_008, 1_000_000_000_000)]), "/items"),
        ] {
            let response = server.patch(&path, &json!({"items": items})).await;
            assert_eq!(pointers(response), [pointer], "{items}");
        }
    }
    let missing = server
        .patch(&absent, &json!({"items": [line("a", 1, 1)]}))
        .await;
    assert_eq!(missing.status(), 404);
    assert_eq!(server.get(&order_path(&order)).await.json::<Value>(), order);
}

async fn one_patch_may_change_items_status_and_metadata(database: Database) {
    let server = Server::start(&database, &[]).await;
    let order = euros(&server, json!([line("a", 1, 10)])).await;
    let body = json!({"items": [line("b", 2, 20), line("a", 1, 1)], "status": "confirmed", "metadata": {"k": "v"}});
    let after: Value = server.patch(&order_path(&order), &body).await.json();
    assert_eq!(
        (&after["version"], &after["total_amount"]),
        (&json!(2), &json!(41))
    );
    for member in ["items", "status", "metadata"] {
        assert_eq!(after[member], body[member]);
    }
    assert_eq!(server.get(&order_path(&order)).await.json::<Value>(), after);
    let listed: Value = server
        .get("/api/v1/orders?product_id=b&status=confirmed")
        .await
        .json();
    assert_eq!(listed, json!([after]));
}
