//! Requests for erasures.

use std::time::Duration;

use serde_json::{Value, json};

use super::{customer_path, done, erase, orders_of, request};
use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    a_customer_without_orders_is_erased,
    requests_return_the_same_erasure_until_it_is_done,
    every_customer_that_an_order_can_have_can_be_erased,
    an_invalid_customer_is_rejected,
    an_unknown_erasure_is_not_found,
    a_tenant_erases_its_own_customers_only,
);

async fn a_customer_without_orders_is_erased(database: Database) {
    let server = Server::start(&database, &[]).await;
    let response = server.delete(&customer_path("nobody")).await;
    assert_eq!(response.status(), 202);
    let accepted: Value = response.json();
    assert_eq!(accepted["finished_at"], Value::Null);
    let erasure = done(&server, response.header("location")).await;
    let text = erasure.to_string();
    assert!(
        !text.contains("nobody") && !text.contains("erased-"),
        "{text}"
    );
    for count in ["orders", "archived_orders", "events", "idempotency_keys"] {
        assert_eq!(erasure[count], 0, "{count}");
    }
    assert_eq!(erasure["requested_at"], accepted["requested_at"]);
    assert!(erasure["finished_at"].as_str() >= erasure["requested_at"].as_str());
    let kept =
        "SELECT count(*) FROM erasures WHERE customer_id IS NOT NULL OR pseudonym IS NOT NULL";
    assert_eq!(database.number(kept).await, 0);
    // The age may have been measured before the erasure was done.
    eventually("no erasure waits", Duration::from_secs(20), async || {
        server.metric::<f64>("erasure_oldest_seconds").await < 0.001
    })
    .await;
}

async fn requests_return_the_same_erasure_until_it_is_done(database: Database) {
    let server = Server::start(&database, &[]).await;
    // An erasure that another process executes.
    let later = if database.is_postgres() {
        "now() + interval '1 hour'"
    } else {
        "9000000000000000"
    };
    let first = request(&server, "ann").await;
    done(&server, &first).await;
    let (id, requested_at) = if database.is_postgres() {
        (
            "'7d1c1f0e-8a51-4f0e-9f3a-6f1f5a0d9d11'",
            "now() - interval '100 s'",
        )
    } else {
        (
            "x'7d1c1f0e8a514f0e9f3a6f1f5a0d9d11'",
            "(unixepoch() - 100) * 1000000",
        )
    };
    database
        .execute(&format!(
            "INSERT INTO erasures (tenant, id, customer_id, pseudonym, authtype, requested_at, leased_until)
                VALUES ('default', {id}, 'ann', 'erased-1', 'api_key', {requested_at}, {later})"
        ))
        .await;
    let expected = "/api/v1/erasures/7d1c1f0e-8a51-4f0e-9f3a-6f1f5a0d9d11";
    for _ in 0..3 {
        assert_eq!(request(&server, "ann").await, expected);
    }
    let pending: Value = server.get(expected).await.json();
    assert_eq!(pending["state"], "pending");
    assert_ne!(request(&server, "bob").await, expected);
    crate::support::eventually(
        "the age of the erasure is measured",
        std::time::Duration::from_secs(15),
        async || server.metric::<f64>("erasure_oldest_seconds").await > 99.0,
    )
    .await;
    // The lease ends, and this process continues.
    database
        .execute("UPDATE erasures SET leased_until = requested_at WHERE finished_at IS NULL")
        .await;
    done(&server, expected).await;
    let next = request(&server, "ann").await;
    assert_ne!(next, expected);
    assert_ne!(next, first);
}

async fn every_customer_that_an_order_can_have_can_be_erased(database: Database) {
    let server = Server::start(&database, &[]).await;
    let longest = "\u{1F600}".repeat(128);
    for customer_id in [
        "c",
        "a/b",
        "a b",
        " a ",
        "100%",
        "%41",
        "a?b#c",
        "日本",
        "é",
        "a+b",
        "a&b=c",
        "\"\\",
        "..%2F",
        "{id}",
        "a;b",
        "'; DROP TABLE orders; --",
        "erased-1",
        &longest,
    ] {
        let body = json!({"product_id": "sku-1", "quantity": 1, "customer_id": customer_id});
        assert_eq!(server.post(&body).await.status(), 201, "{customer_id}");
        let erasure = erase(&server, customer_id).await;
        assert_eq!(erasure["orders"], 1, "{customer_id}");
        assert_eq!(orders_of(&server, customer_id).await, Vec::<Value>::new());
    }
    assert_eq!(
        server
            .get("/api/v1/orders")
            .await
            .json::<Vec<Value>>()
            .len(),
        18
    );
}

async fn an_invalid_customer_is_rejected(database: Database) {
    let server = Server::start(&database, &[("RUST_LOG", "trace")]).await;
    let secret = "PERSON";
    let too_long = secret.repeat(22);
    for (segment, kind) in [
        ("%20PERSON%00", "validation-failed"),
        ("PERSON%0A", "validation-failed"),
        ("%20", "validation-failed"),
        ("PERSON%FF", "validation-failed"),
        (too_long.as_str(), "validation-failed"),
        ("PERSON/", "not-found"),
        ("PERSON/orders", "not-found"),
        ("/PERSON", "not-found"),
    ] {
        let path = format!("/api/v1/customers/{segment}");
        let response = server.delete(&path).await;
        let problem = problem(response);
        assert_eq!(problem_kind(&problem), kind, "{segment}");
        assert_eq!(
            problem["instance"], "/api/v1/customers/{customer_id}",
            "{segment}"
        );
        assert!(!problem.to_string().contains(secret), "{problem}");
        if kind == "validation-failed" {
            assert_eq!(problem["errors"][0]["pointer"], "/customer_id");
        }
    }
    // Paths that only resemble that of a customer.
    for path in [
        "/api/v1//customers/PERSON",
        "//api/v1/customers/PERSON",
        "/api/v1/Customers/PERSON",
        "/API/V1/CUSTOMERS/PERSON",
        "/api/v1/%2563ustomers/PERSON",
        "/api/v1/customers%2FPERSON",
        "/api%2Fv1%2Fcustomers%2FPERSON",
        "/api/v1/customers%252FPERSON",
        "/api/v1/customer/PERSON",
        "/v1/customers/PERSON",
    ] {
        let problem = problem(server.delete(path).await);
        assert_eq!(problem_kind(&problem), "not-found", "{path}");
        let shown = &problem["instance"];
        assert_eq!(shown, "/api/v1/customers/{customer_id}", "{path}");
        assert!(!problem.to_string().contains(secret), "{problem}");
    }
    let useful = "/api/v1/order/7/events";
    assert_eq!(problem(server.delete(useful).await)["instance"], useful);
    for method in ["GET", "HEAD", "POST", "PATCH", "PURGE"] {
        let path = server.url(&customer_path(secret));
        let response = server
            .client
            .request(method.parse().unwrap(), path)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 405);
        assert!(!response.text().contains(secret), "{method}");
    }
    // A head that is rejected before it is read.
    let encoded = "/api/v1/%63ustomers/PERSON";
    assert_eq!(server.delete(encoded).await.status(), 202);
    assert_eq!(database.count("erasures").await, 1);
    let logs = server.lines();
    let disclosing: Vec<_> = logs.iter().filter(|line| line.contains(secret)).collect();
    assert_eq!(disclosing, Vec::<&String>::new());
    assert!(
        logs.iter()
            .any(|line| line.contains("/api/v1/customers/{customer_id}"))
    );
}

async fn an_unknown_erasure_is_not_found(database: Database) {
    let server = Server::start(&database, &[]).await;
    for id in [
        "7d1c1f0e-8a51-4f0e-9f3a-6f1f5a0d9d11",
        "no-uuid",
        "7d1c1f0e8a514f0e9f3a6f1f5a0d9d11",
    ] {
        let response = server.get(&format!("/api/v1/erasures/{id}")).await;
        assert_eq!(problem_kind(&problem(response)), "not-found", "{id}");
    }
}

async fn a_tenant_erases_its_own_customers_only(database: Database) {
    let scopes = ["orders:read", "orders:write", "admin"];
    let file = AuthFile::with_keys(&[("a", &scopes, "acme"), ("b", &scopes, "bravo")]);
    let server = Server::start(&database, &[("AUTH_FILE", &file.path())]).await;
    let body = json!({"product_id": "sku-1", "quantity": 1, "customer_id": "ann"});
    for key in ["a", "b"] {
        let post = server.client.post(server.url("/api/v1/orders")).json(&body);
        let post = post.header("authorization", bearer(&api_key(key)));
        assert_eq!(post.send().await.unwrap().status(), 201);
    }
    let delete = server.client.delete(server.url(&customer_path("ann")));
    let delete = delete.header("authorization", bearer(&api_key("a")));
    let response = delete.send().await.unwrap();
    let path = response.header("location").to_owned();
    crate::support::eventually(
        "it is done",
        std::time::Duration::from_secs(20),
        async || {
            let erasure: Value = server.get_with(&api_key("a"), &path).await.json();
            erasure["state"] == "done" && erasure["orders"] == 1
        },
    )
    .await;
    assert_eq!(server.get_with(&api_key("b"), &path).await.status(), 404);
    for (key, left) in [("a", 0), ("b", 1)] {
        let list = server
            .get_with(&api_key(key), "/api/v1/orders?customer_id=ann")
            .await;
        assert_eq!(list.json::<Vec<Value>>().len(), left, "{key}");
    }
    let authors = "SELECT count(*) FROM events WHERE event_type = 'erased' AND authtype = 'api_key' AND authid = 'a'";
    assert_eq!(database.number(authors).await, 1);
}
