//! Updates of orders: transitions, merges and invalid input.

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::orders::order_id;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    status_transitions_are_those_of_the_contract,
    quantity_and_metadata_are_updated_as_documented,
    an_update_that_changes_nothing_writes_nothing,
    errors_take_precedence_in_the_order_of_the_contract,
    invalid_updates_are_rejected,
);

/// Each status with those that may follow it.
const NEXT: [(&str, &[&str]); 5] = [
    ("pending", &["confirmed", "cancelled"]),
    ("confirmed", &["shipped", "cancelled"]),
    ("shipped", &["delivered"]),
    ("delivered", &[]),
    ("cancelled", &[]),
];

async fn patch(server: &Server, id: &str, body: &Value) -> Response {
    server.patch(&format!("/api/v1/orders/{id}"), body).await
}

/// The id of a new order with this status.
pub(crate) async fn order_in(server: &Server, status: &str) -> String {
    let id = order_id(&server.create("sku-1").await).to_owned();
    let steps: &[&str] = match status {
        "pending" => &[],
        "confirmed" => &["confirmed"],
        "shipped" => &["confirmed", "shipped"],
        "delivered" => &["confirmed", "shipped", "delivered"],
        _ => &["cancelled"],
    };
    for status in steps {
        assert_eq!(
            patch(server, &id, &json!({"status": status}))
                .await
                .status(),
            200
        );
    }
    id
}

async fn status_transitions_are_those_of_the_contract(database: Database) {
    let server = Server::start(&database, &[]).await;
    for (from, allowed) in NEXT {
        for (to, _) in NEXT {
            let id = order_in(&server, from).await;
            let before: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
            let response = patch(&server, &id, &json!({"status": to})).await;
            if from == to {
                assert_eq!(response.json::<Value>(), before);
            } else if allowed.contains(&to) {
                let after: Value = response.json();
                let version = before["version"].as_i64().unwrap() + 1;
                assert_eq!(
                    (&after["status"], &after["version"]),
                    (&json!(to), &json!(version))
                );
                assert_eq!(response.header("etag"), format!("\"{version}\""));
                assert_eq!(after["created_at"], before["created_at"]);
                assert!(after["updated_at"].as_str() >= before["updated_at"].as_str());
            } else {
                let rejected = problem(response);
                assert_eq!(problem_kind(&rejected), "illegal-transition", "{from} {to}");
                assert_eq!(rejected["allowed"], json!(allowed));
            }
        }
    }
}

async fn quantity_and_metadata_are_updated_as_documented(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "pending").await;
    let body = json!({"quantity": 5, "metadata": {"a": "1", "b": "2"}});
    let order: Value = patch(&server, &id, &body).await.json();
    assert_eq!(order["quantity"], 5);
    let order: Value = patch(&server, &id, &json!({"metadata": {"a": null, "c": "3"}}))
        .await
        .json();
    assert_eq!(order["metadata"], json!({"b": "2", "c": "3"}));
    let url = server.url(&format!("/api/v1/orders/{id}"));
    let merge = server
        .client
        .patch(url)
        .header("content-type", "application/merge-patch+json");
    let order: Value = merge
        .body(r#"{"metadata":null}"#)
        .send()
        .await
        .unwrap()
        .json();
    assert_eq!(
        (&order["metadata"], &order["version"]),
        (&json!({}), &json!(4))
    );
    patch(&server, &id, &json!({"status": "confirmed"})).await;
    let rejected = problem(patch(&server, &id, &json!({"quantity": 6})).await);
    assert_eq!(problem_kind(&rejected), "order-not-editable");
    let order: Value = patch(&server, &id, &json!({"metadata": {"d": "4"}}))
        .await
        .json();
    assert_eq!(
        (&order["quantity"], &order["metadata"]),
        (&json!(5), &json!({"d": "4"}))
    );
}

async fn an_update_that_changes_nothing_writes_nothing(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "confirmed").await;
    let before: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
    for body in [
        json!({}),
        json!({"status": "confirmed"}),
        json!({"quantity": 1}),
        json!({"metadata": {}}),
        json!({"metadata": null}),
        json!({"metadata": {"absent": null}}),
    ] {
        let response = patch(&server, &id, &body).await;
        assert_eq!(
            (response.status(), response.header("etag")),
            (200, "\"2\""),
            "{body}"
        );
        assert_eq!(response.json::<Value>(), before);
    }
    assert_eq!(database.count("events").await, 2);
}

async fn errors_take_precedence_in_the_order_of_the_contract(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "delivered").await;
    let send = async |id: &str, if_match: &str, body: Value| {
        let url = server.url(&format!("/api/v1/orders/{id}"));
        let request = server
            .client
            .patch(url)
            .header("if-match", if_match)
            .json(&body);
        let response = request.send().await.unwrap();
        (response.status() != 200).then(|| problem_kind(&problem(response)).to_owned())
    };
    let absent = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
    let (bad, illegal) = (json!({"status": "lost"}), json!({"status": "pending"}));
    let some = |problem_kind: &str| Some(problem_kind.to_owned());
    assert_eq!(send(absent, "\"9\"", bad).await, some("validation-failed"));
    assert_eq!(
        send(absent, "\"9\"", illegal.clone()).await,
        some("not-found")
    );
    assert_eq!(send("7", "\"9\"", illegal.clone()).await, some("not-found"));
    assert_eq!(
        send(&id, "\"9\"", illegal.clone()).await,
        some("precondition-failed")
    );
    assert_eq!(
        send(&id, "W/\"4\"", illegal.clone()).await,
        some("precondition-failed")
    );
    assert_eq!(
        send(&id, "\"4\"", illegal.clone()).await,
        some("illegal-transition")
    );
    assert_eq!(
        send(&id, "\"1\", \"4\"", illegal).await,
        some("illegal-transition")
    );
    assert_eq!(send(&id, "*", json!({"metadata": {"a": "b"}})).await, None);
    assert_eq!(
        send(&id, "nonsense", json!({})).await,
        some("malformed-request")
    );
}

async fn invalid_updates_are_rejected(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "pending").await;
    for (body, pointer) in [
        (json!({"status": "Confirmed"}), "/status"),
        (json!({"status": null}), "/status"),
        (json!({"status": 1}), "/status"),
        (json!({"quantity": 0}), "/quantity"),
        (json!({"quantity": null}), "/quantity"),
        (json!({"quantity": 1.5}), "/quantity"),
        (json!({"metadata": []}), "/metadata"),
        (json!({"metadata": {"k": 1}}), "/metadata/k"),
        (json!({"metadata": {"k": "v".repeat(501)}}), "/metadata/k"),
        (json!({"metadata": {"": null}}), "/metadata/"),
        (json!({"product_id": "b"}), "/product_id"),
        (json!({"version": 2}), "/version"),
        (json!([]), ""),
    ] {
        let rejected = problem(patch(&server, &id, &body).await);
        assert_eq!(problem_kind(&rejected), "validation-failed", "{body}");
        assert_eq!(rejected["errors"][0]["pointer"], pointer, "{body}");
    }
    let many: Value = (0..50)
        .map(|i| (i.to_string(), json!("v")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(
        patch(&server, &id, &json!({"metadata": many}))
            .await
            .status(),
        200
    );
    let rejected = problem(patch(&server, &id, &json!({"metadata": {"51st": ""}})).await);
    assert_eq!(problem_kind(&rejected), "validation-failed");
    let url = server.url(&format!("/api/v1/orders/{id}"));
    let form = server
        .client
        .patch(url)
        .header("content-type", "application/x-www-form-urlencoded");
    let rejected = form.body("status=confirmed").send().await.unwrap();
    let accepted = "application/merge-patch+json, application/json";
    assert_eq!(rejected.header("accept-patch"), accepted);
    let rejected = problem(rejected);
    assert_eq!(problem_kind(&rejected), "unsupported-media-type");
}
