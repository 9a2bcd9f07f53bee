//! Which bodies are a batch, and how large they may be.

use reqwest::Method;
use serde_json::{Value, json};

use super::{BATCH, batch_request, orders, outcomes, post_batch, post_text, results};
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    a_body_that_is_not_a_batch_is_rejected_as_a_whole,
    a_batch_has_one_to_a_hundred_orders,
);

async fn a_body_that_is_not_a_batch_is_rejected_as_a_whole(database: Database) {
    let server = Server::start(&database, &[]).await;
    const GOOD: &str = r#"{"product_id":"a","quantity":1}"#;
    for body in [
        "",
        "{",
        r#"{"orders":[}"#,
        &format!(r#"{{"orders":[{GOOD}]"#),
        &format!(r#"{{"orders":[{GOOD}]}} x"#),
        &format!(r#"{{"orders":[{GOOD},]}}"#),
        &format!(r#"{{"orders":[{GOOD},nil]}}"#),
        &format!(r#"{{"orders":[{GOOD},{{"product_id":"a"]}}"#),
    ] {
        let rejected = problem(post_text(&server, body.to_owned()).await);
        assert_eq!(problem_kind(&rejected), "malformed-request", "{body}");
    }
    for bytes in [
        &b"{\"orders\":[{\"product_id\":\"\xff\",\"quantity\":1}]}"[..],
        b"{\"orders\":[{\"product_id\":\"a\",\"quantity\":1}],\"\xff\":1}",
    ] {
        let rejected = problem(post_text(&server, bytes).await);
        assert_eq!(problem_kind(&rejected), "malformed-request", "{bytes:?}");
    }
    for (body, pointer) in [
        ("[]", ""),
        (&format!("[{GOOD}]"), ""),
        ("null", ""),
        ("{}", ""),
        (GOOD, "/product_id"),
        (r#"{"orders":null}"#, "/orders"),
        (r#"{"orders":{}}"#, "/orders"),
        (&format!(r#"{{"orders":{GOOD}}}"#), "/orders"),
        (r#"{"orders":7}"#, "/orders"),
        (r#"{"orders":[]}"#, "/orders"),
        (&format!(r#"{{"orders":[{GOOD}],"more":1}}"#), "/more"),
        (&format!(r#"{{"more":[{{}}],"orders":[{GOOD}]}}"#), "/more"),
        (&format!(r#"{{"orders":[{GOOD}],"orders":[{GOOD}]}}"#), ""),
        (
            &format!(r#"{{"orders":[{GOOD}],"idempotency_key":"k"}}"#),
            "/idempotency_key",
        ),
    ] {
        let rejected = problem(post_text(&server, body.to_owned()).await);
        assert_eq!(problem_kind(&rejected), "validation-failed", "{body}");
        assert_eq!(
            rejected["errors"][0]["pointer"], pointer,
            "{body} {rejected}"
        );
    }
    let text = server
        .client
        .post(server.url(BATCH))
        .body(format!(r#"{{"orders":[{GOOD}]}}"#));
    let rejected = problem(
        text.header("content-type", "text/plain")
            .send()
            .await
            .unwrap(),
    );
    assert_eq!(problem_kind(&rejected), "unsupported-media-type");
    assert_eq!(database.count("orders").await, 0);
}

async fn a_batch_has_one_to_a_hundred_orders(database: Database) {
    let server = Server::start(&database, &[]).await;
    for (count, accepted) in [
        (0, false),
        (1, true),
        (100, true),
        (101, false),
        (5_000, false),
    ] {
        let before = database.count("orders").await;
        let response = post_batch(&server, &orders(count)).await;
        let created = if accepted {
            assert_eq!(outcomes(&results(&response)), vec![(201, ""); count]);
            i64::try_from(count).unwrap()
        } else {
            let rejected = problem(response);
            assert_eq!(rejected["errors"][0]["pointer"], "/orders");
            let detail = rejected["errors"][0]["detail"].as_str().unwrap();
            assert!(detail.ends_with(&format!("has {count}")), "{detail}");
            0
        };
        assert_eq!(database.count("orders").await, before + created);
    }
}

const MIB: usize = 1024 * 1024;

/// A batch of this many bytes, padded with spaces.
fn batch_of(bytes: usize) -> String {
    let mut body = json!({"orders": orders(2)}).to_string();
    body.push_str(&" ".repeat(bytes - body.len()));
    body
}

#[tokio::test]
async fn a_batch_has_a_limit_of_one_mebibyte_whatever_max_body_bytes_is() {
    for max_body_bytes in ["1000", "65536", "4000000"] {
        let server = Server::on_sqlite(&[("MAX_BODY_BYTES", max_body_bytes)]).await;
        assert_eq!(post_text(&server, batch_of(MIB)).await.status(), 200);
        let rejected = problem(post_text(&server, batch_of(MIB + 1)).await);
        assert_eq!(problem_kind(&rejected), "payload-too-large");
        assert!(
            rejected["detail"].as_str().unwrap().contains("1048576"),
            "{rejected}"
        );
        // A body in chunks, which announces no length.
        for (bytes, status) in [(MIB, 200), (MIB + 1, 413)] {
            let body = batch_of(bytes).into_bytes();
            let parts: Vec<_> = body
                .chunks(100_000)
                .map(|part| Ok::<_, String>(part.to_vec()))
                .collect();
            let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
            assert_eq!(post_text(&server, body).await.status(), status, "{bytes}");
        }
        let single = format!(
            r#"{{"product_id":"a","quantity":1}}{}"#,
            " ".repeat(max_body_bytes.parse().unwrap())
        );
        let request = server
            .client
            .post(server.url("/api/v1/orders"))
            .body(single);
        let request = request.header("content-type", "application/json");
        assert_eq!(request.send().await.unwrap().status(), 413);
    }
}

#[tokio::test]
async fn orders_of_ten_kibibytes_each_fill_a_batch() {
    let server = Server::on_sqlite(&[]).await;
    let metadata: Value = (0..20)
        .map(|i| (i.to_string(), json!("v".repeat(500))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let batch = vec![json!({"product_id": "a", "quantity": 1, "metadata": metadata}); 100];
    let results = results(&post_batch(&server, &batch).await);
    assert_eq!(outcomes(&results), [(201, ""); 100]);
    let stored: Value = server.get(&order_path(&results[99]["order"])).await.json();
    assert_eq!(stored["metadata"], metadata);
}

#[tokio::test]
async fn the_response_to_invalid_orders_is_at_most_a_few_times_as_large_as_the_request() {
    let server = Server::on_sqlite(&[]).await;
    // As many invalid entries as fit into the body: in one order, and in a hundred.
    for count in [1, 100] {
        let entries = (MIB - 10_000) / 17 / count;
        let metadata: Vec<_> = (0..entries)
            .map(|i| format!(r#""{i:05}\u0007":1"#))
            .collect();
        let metadata = metadata.join(",").replace(":1", ":\"\"");
        let order = format!(r#"{{"product_id":"a","quantity":1,"metadata":{{{metadata}}}}}"#);
        let body = format!(r#"{{"orders":[{}]}}"#, vec![order; count].join(","));
        if body.len() > MIB {
            panic!("{}", body.len());
        }
        let response = post_text(&server, body).await;
        assert_eq!(
            outcomes(&results(&response)),
            vec![(422, "validation-failed"); count]
        );
        let result = &results(&response)[count - 1];
        let errors = result["problem"]["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 10);
        let bytes = response.text().len();
        assert!(bytes < 200_000, "{bytes} bytes");
    }
    // Each line has two errors that are several times as large as the line.
    let line = r#"{"product_id":"","quantity":0}"#;
    let order = format!(r#"{{"items":[{}]}}"#, vec![line; 100].join(","));
    let body = format!(r#"{{"orders":[{}]}}"#, vec![order; 100].join(","));
    let response = post_text(&server, body).await;
    assert_eq!(
        outcomes(&results(&response)),
        [(422, "validation-failed"); 100]
    );
    let bytes = response.text().len();
    assert!(bytes < 200_000, "{bytes} bytes");
    let peak = server.peak_memory_mib();
    eprintln!("{peak} MiB");
    assert!(peak < 100, "{peak} MiB");
}

#[tokio::test]
async fn the_key_of_a_single_request_is_rejected_with_a_hint() {
    let server = Server::on_sqlite(&[]).await;
    let request = batch_request(&server, &orders(1)).header("idempotency-key", "k");
    let rejected = problem(request.send().await.unwrap());
    assert_eq!(problem_kind(&rejected), "malformed-request");
    assert!(
        rejected["detail"]
            .as_str()
            .unwrap()
            .contains("idempotency_key"),
        "{rejected}"
    );
    let stored: Vec<Value> = server.get("/api/v1/orders").await.json();
    assert_eq!(stored, Vec::<Value>::new());
}

#[tokio::test]
async fn the_path_of_batches_supports_post_only_and_is_no_order() {
    let server = Server::on_sqlite(&[]).await;
    for method in [
        Method::GET,
        Method::HEAD,
        Method::PATCH,
        Method::PUT,
        Method::DELETE,
    ] {
        let response = server
            .client
            .request(method.clone(), server.url(BATCH))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.header("allow"), "POST", "{method}");
    }
    assert_eq!(server.status("/api/v1/orders/batches").await, 404);
    assert_eq!(server.status("/api/v1/orders/batch/events").await, 404);
    assert_eq!(server.status("/api/v1/orders/batch/").await, 404);
}
