use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::database::Database;
use crate::support::server::{Server, problem, slug};

crate::on_both!(
    the_state_machine_is_that_of_the_contract,
    quantity_and_metadata_change_as_documented,
    a_patch_that_changes_nothing_writes_nothing,
    checks_come_in_the_order_of_the_contract,
    bad_patches_are_422,
    of_twenty_writers_one_wins,
    writers_without_a_condition_all_get_through,
    conditional_reads,
    a_weak_tag_is_told_apart_from_a_stale_one,
);

const NEXT: [(&str, &[&str]); 5] = [
    ("pending", &["confirmed", "cancelled"]),
    ("confirmed", &["shipped", "cancelled"]),
    ("shipped", &["delivered"]),
    ("delivered", &[]),
    ("cancelled", &[]),
];

async fn patch(server: &Server, id: &str, body: &Value) -> Answer {
    let url = server.url(&format!("/api/v1/orders/{id}"));
    server.client.patch(url).json(body).send().await.unwrap()
}

/// A new order that was led to this status.
async fn order_in(server: &Server, status: &str) -> String {
    let id = server.place("sku-1").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let way: &[&str] = match status {
        "pending" => &[],
        "confirmed" => &["confirmed"],
        "shipped" => &["confirmed", "shipped"],
        "delivered" => &["confirmed", "shipped", "delivered"],
        _ => &["cancelled"],
    };
    for status in way {
        assert_eq!(
            patch(server, &id, &json!({"status": status}))
                .await
                .status(),
            200
        );
    }
    id
}

async fn the_state_machine_is_that_of_the_contract(database: Database) {
    let server = Server::start(&database, &[]).await;
    for (from, allowed) in NEXT {
        for (to, _) in NEXT {
            let id = order_in(&server, from).await;
            let before: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
            let answer = patch(&server, &id, &json!({"status": to})).await;
            if from == to {
                assert_eq!(answer.json::<Value>(), before);
            } else if allowed.contains(&to) {
                let after: Value = answer.json();
                let version = before["version"].as_i64().unwrap() + 1;
                assert_eq!(
                    (&after["status"], &after["version"]),
                    (&json!(to), &json!(version))
                );
                assert_eq!(answer.header("etag"), format!("\"{version}\""));
                assert_eq!(after["created_at"], before["created_at"]);
                assert!(after["updated_at"].as_str() >= before["updated_at"].as_str());
            } else {
                let refused = problem(answer);
                assert_eq!(slug(&refused), "illegal-transition", "{from} {to}");
                assert_eq!(refused["allowed"], json!(allowed));
            }
        }
    }
}

async fn quantity_and_metadata_change_as_documented(database: Database) {
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
    let refused = problem(patch(&server, &id, &json!({"quantity": 6})).await);
    assert_eq!(slug(&refused), "order-not-editable");
    let order: Value = patch(&server, &id, &json!({"metadata": {"d": "4"}}))
        .await
        .json();
    assert_eq!(
        (&order["quantity"], &order["metadata"]),
        (&json!(5), &json!({"d": "4"}))
    );
}

async fn a_patch_that_changes_nothing_writes_nothing(database: Database) {
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
        let answer = patch(&server, &id, &body).await;
        assert_eq!(
            (answer.status(), answer.header("etag")),
            (200, "\"2\""),
            "{body}"
        );
        assert_eq!(answer.json::<Value>(), before);
    }
    assert_eq!(database.number("SELECT count(*) FROM events").await, 2);
}

async fn checks_come_in_the_order_of_the_contract(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "delivered").await;
    let send = async |id: &str, if_match: &str, body: Value| {
        let url = server.url(&format!("/api/v1/orders/{id}"));
        let request = server
            .client
            .patch(url)
            .header("if-match", if_match)
            .json(&body);
        let answer = request.send().await.unwrap();
        (answer.status() != 200).then(|| slug(&problem(answer)).to_owned())
    };
    let absent = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
    let (bad, illegal) = (json!({"status": "lost"}), json!({"status": "pending"}));
    let is = |slug: &str| Some(slug.to_owned());
    assert_eq!(send(absent, "\"9\"", bad).await, is("validation-failed"));
    assert_eq!(
        send(absent, "\"9\"", illegal.clone()).await,
        is("not-found")
    );
    assert_eq!(send("7", "\"9\"", illegal.clone()).await, is("not-found"));
    assert_eq!(
        send(&id, "\"9\"", illegal.clone()).await,
        is("precondition-failed")
    );
    assert_eq!(
        send(&id, "W/\"4\"", illegal.clone()).await,
        is("precondition-failed")
    );
    assert_eq!(
        send(&id, "\"4\"", illegal.clone()).await,
        is("illegal-transition")
    );
    assert_eq!(
        send(&id, "\"1\", \"4\"", illegal).await,
        is("illegal-transition")
    );
    assert_eq!(send(&id, "*", json!({"metadata": {"a": "b"}})).await, None);
    assert_eq!(
        send(&id, "nonsense", json!({})).await,
        is("malformed-request")
    );
}

async fn bad_patches_are_422(database: Database) {
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
        let refused = problem(patch(&server, &id, &body).await);
        assert_eq!(slug(&refused), "validation-failed", "{body}");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{body}");
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
    let refused = problem(patch(&server, &id, &json!({"metadata": {"one more": ""}})).await);
    assert_eq!(slug(&refused), "validation-failed");
    let url = server.url(&format!("/api/v1/orders/{id}"));
    let form = server
        .client
        .patch(url)
        .header("content-type", "application/x-www-form-urlencoded");
    let refused = form.body("status=confirmed").send().await.unwrap();
    let accepted = "application/merge-patch+json, application/json";
    assert_eq!(refused.header("accept-patch"), accepted);
    let refused = problem(refused);
    assert_eq!(slug(&refused), "unsupported-media-type");
}

async fn of_twenty_writers_one_wins(database: Database) {
    let server = Server::start(&database, &[]).await;
    for _ in 0..5 {
        let id = order_in(&server, "pending").await;
        let url = server.url(&format!("/api/v1/orders/{id}"));
        let tasks: Vec<_> = (0..20)
            .map(|i| {
                let request = server.client.patch(&url).header("if-match", "\"1\"");
                tokio::spawn(request.json(&json!({"quantity": i + 2})).send())
            })
            .collect();
        let (mut won, mut stale) = (0, 0);
        for task in tasks {
            match task.await.unwrap().unwrap().status() {
                200 => won += 1,
                412 => stale += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!((won, stale), (1, 19));
        let order: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
        assert_eq!(order["version"], 2);
    }
}

async fn writers_without_a_condition_all_get_through(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "pending").await;
    let url = server.url(&format!("/api/v1/orders/{id}"));
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let body = json!({"metadata": {i.to_string(): "x"}});
            tokio::spawn(server.client.patch(&url).json(&body).send())
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    let order: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
    assert_eq!(order["version"], 21);
    assert_eq!(order["metadata"].as_object().unwrap().len(), 20);
}

async fn conditional_reads(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "confirmed").await;
    let url = server.url(&format!("/api/v1/orders/{id}"));
    for (tags, status) in [
        ("\"2\"", 304),
        ("W/\"2\"", 304),
        ("\"7\", \"2\"", 304),
        ("*", 304),
        ("\"1\"", 200),
        ("\"02\"", 200),
        ("2", 400),
    ] {
        let request = server.client.get(&url).header("if-none-match", tags);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{tags}");
        if status == 304 {
            assert_eq!(
                (answer.header("etag"), answer.text().as_str()),
                ("\"2\"", "")
            );
        }
    }
    let get = async |tags: &str| {
        let request = server.client.get(&url).header("if-match", tags);
        request.send().await.unwrap().status()
    };
    assert_eq!(
        (get("\"2\"").await, get("\"1\"").await, get("*").await),
        (200, 412, 200)
    );
    // A change that must not touch a version which the client has already.
    for (tags, status) in [("*", 412), ("\"2\"", 412), ("W/\"2\"", 412), ("\"1\"", 200)] {
        let request = server.client.patch(&url).header("if-none-match", tags);
        let answer = request
            .json(&json!({"metadata": {"a": tags}}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{tags}");
    }
}

async fn a_weak_tag_is_told_apart_from_a_stale_one(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = order_in(&server, "pending").await;
    let url = server.url(&format!("/api/v1/orders/{id}"));
    for (name, value, part) in [
        ("if-match", "W/\"1\"", "weak"),
        ("if-match", "W/\"1\", W/\"2\"", "weak"),
        ("if-match", "\"2\"", "has changed"),
        ("if-match", "W/\"1\", \"2\"", "has changed"),
        ("if-none-match", "*", "If-None-Match"),
    ] {
        let request = server.client.patch(&url).header(name, value);
        let refused = request.json(&json!({"quantity": 9})).send().await.unwrap();
        let refused = problem(refused);
        assert_eq!(slug(&refused), "precondition-failed");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{name}: {value}: {detail}");
    }
    let weak = server.client.get(&url).header("if-match", "W/\"1\"");
    let refused = problem(weak.send().await.unwrap());
    assert!(refused["detail"].as_str().unwrap().contains("weak"));
}
