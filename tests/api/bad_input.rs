//! Invalid input gets a 4xx with its reason: never a panic, never a 5xx.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::database::Database;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    bodies_that_are_not_an_order_are_422,
    bodies_that_are_not_json_are_400,
    unsupported_content_types_are_415,
    bodies_larger_than_the_limit_are_413,
    unfinished_bodies_are_400_or_408,
    paths_and_queries_that_are_not_utf_8_match_nothing,
);

/// Sends a body that is rejected, and returns the problem.
async fn post_invalid(
    server: &Server,
    body: impl Into<reqwest::Body>,
    content_type: &str,
) -> Value {
    let request = server
        .client
        .post(server.url("/api/v1/orders"))
        .header("content-type", content_type)
        .body(body);
    problem(request.send().await.unwrap())
}

async fn bodies_that_are_not_an_order_are_422(database: Database) {
    let server = Server::start(&database, &[]).await;
    let many: serde_json::Map<String, Value> =
        (0..51).map(|i| (i.to_string(), json!(""))).collect();
    for (body, pointer) in [
        (json!({"quantity": 1}), ""),
        (json!({"product_id": "a"}), ""),
        (json!({"product_id": 7, "quantity": 1}), "/product_id"),
        (json!({"product_id": "a", "quantity": "1"}), "/quantity"),
        (json!({"product_id": "a", "quantity": 1.5}), "/quantity"),
        (json!({"product_id": "a", "quantity": true}), "/quantity"),
        (json!({"product_id": "a", "quantity": null}), "/quantity"),
        (json!({"product_id": "a", "quantity": 0}), "/quantity"),
        (json!({"product_id": "a", "quantity": -1}), "/quantity"),
        (
            json!({"product_id": "a", "quantity": 1_000_001}),
            "/quantity",
        ),
        (
            json!({"product_id": "a", "quantity": 2_147_483_648_i64}),
            "/quantity",
        ),
        (
            json!({"product_id": "a", "quantity": u64::MAX}),
            "/quantity",
        ),
        (json!({"product_id": "a", "quantity": 1e300}), "/quantity"),
        (json!({"product_id": "", "quantity": 1}), "/product_id"),
        (json!({"product_id": " \t ", "quantity": 1}), "/product_id"),
        (
            json!({"product_id": "x".repeat(129), "quantity": 1}),
            "/product_id",
        ),
        (
            json!({"product_id": "a\u{7}", "quantity": 1}),
            "/product_id",
        ),
        (json!({"product_id": "a\0b", "quantity": 1}), "/product_id"),
        (
            json!({"product_id": "a", "quantity": 1, "customer_id": ""}),
            "/customer_id",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "customer_id": "\0"}),
            "/customer_id",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "customer_id": 7}),
            "/customer_id",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "status": "shipped"}),
            "/status",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "metadata": []}),
            "/metadata",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "metadata": null}),
            "/metadata",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "metadata": {"k": 1}}),
            "/metadata/k",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "metadata": {"k": "\0"}}),
            "/metadata/k",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "metadata": {"\0": "v"}}),
            "/metadata/\0",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "metadata": {"k": "v".repeat(501)}}),
            "/metadata/k",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "metadata": many}),
            "/metadata",
        ),
        (json!(["a", 1]), ""),
        (json!("a"), ""),
        (json!(null), ""),
        (json!(7), ""),
    ] {
        let rejected = post_invalid(&server, body.to_string(), "application/json").await;
        assert_eq!(
            problem_kind(&rejected),
            "validation-failed",
            "{body} {rejected}"
        );
        assert_eq!(
            rejected["errors"][0]["pointer"], pointer,
            "{body} {rejected}"
        );
        assert!(!rejected["errors"][0]["detail"].as_str().unwrap().is_empty());
    }
    for text in [
        r#"{"product_id":"a","quantity":1,"quantity":2}"#,
        r#"{"product_id":"a","quantity":1e400}"#,
        &format!(r#"{{"product_id":"a","quantity":{}}}"#, "9".repeat(400)),
        r#"{"product_id":"a","quantity":1,"metadata":{"k":"1","k":"2"}}"#,
    ] {
        let rejected = post_invalid(&server, text.to_owned(), "application/json").await;
        assert_eq!(problem_kind(&rejected), "validation-failed", "{text}");
    }
    assert_eq!(database.count("orders").await, 0);
}

async fn bodies_that_are_not_json_are_400(database: Database) {
    let server = Server::start(&database, &[]).await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep_metadata = format!(
        "{{\"product_id\":\"a\",\"quantity\":1,\"metadata\":{}",
        "{\"a\":".repeat(5_000)
    );
    for body in [
        &b""[..],
        b"   ",
        b"{",
        b"{\"product_id\": \"a\", \"quantity\": }",
        b"{\"product_id\": \"a\", \"quantity\": 1} trailing",
        b"{\"product_id\": 7, \"quantity\": 1",
        b"{'product_id': 'a'}",
        b"{\"product_id\": \"\xff\xfe\", \"quantity\": 1}",
        b"[\"\xff\"]",
        b"{\"quantity\": \"x\", \"product_id\": \"\xff\"}",
        b"{\"product_id\": \"\\ud800\", \"quantity\": 1}",
        b"{\"product_id\": \"a\nb\", \"quantity\": 1}",
        b"{\"product_id\": \"a\", \"quantity\": 01}",
        b"\xef\xbb\xbf{\"product_id\": \"a\", \"quantity\": 1}",
        b"\0",
        deep_metadata.as_bytes(),
    ] {
        let rejected = post_invalid(&server, body.to_vec(), "application/json").await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(
            problem_kind(&rejected),
            "malformed-request",
            "{shown} {rejected}"
        );
    }
    // Deeply nested JSON that is not an order.
    let rejected = post_invalid(&server, deep, "application/json").await;
    assert!(
        ["malformed-request", "validation-failed"].contains(&problem_kind(&rejected)),
        "{rejected}"
    );
    assert_eq!(server.status("/healthz").await, 200);
}

async fn unsupported_content_types_are_415(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = r#"{"product_id":"a","quantity":1}"#;
    for content_type in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
    ] {
        let rejected = post_invalid(&server, body, content_type).await;
        assert_eq!(
            problem_kind(&rejected),
            "unsupported-media-type",
            "{content_type}"
        );
    }
    let url = server.url("/api/v1/orders");
    let without = server.client.post(&url).body(body).send().await.unwrap();
    assert_eq!(without.header("accept"), "application/json");
    assert_eq!(problem_kind(&problem(without)), "unsupported-media-type");
    let request = server
        .client
        .post(&url)
        .header("content-type", "application/json");
    let compressed = request
        .header("content-encoding", "gzip")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(compressed.header("accept-encoding"), "identity");
    assert_eq!(problem_kind(&problem(compressed)), "unsupported-media-type");
    for content_type in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=UTF-8",
    ] {
        let request = server
            .client
            .post(&url)
            .header("content-type", content_type);
        assert_eq!(
            request.body(body).send().await.unwrap().status(),
            201,
            "{content_type}"
        );
    }
}

async fn bodies_larger_than_the_limit_are_413(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "1000")]).await;
    let padded = |length: usize| {
        let json = r#"{"product_id":"a","quantity":1}"#;
        format!("{json}{}", " ".repeat(length - json.len()))
    };
    let url = server.url("/api/v1/orders");
    let fits = server
        .client
        .post(&url)
        .header("content-type", "application/json");
    assert_eq!(fits.body(padded(1000)).send().await.unwrap().status(), 201);
    let rejected = post_invalid(&server, padded(1001), "application/json").await;
    assert_eq!(problem_kind(&rejected), "payload-too-large");
    // A body without a length is rejected once it is too large.
    let chunks: Vec<Result<String, std::io::Error>> = vec![Ok(padded(600)), Ok(" ".repeat(600))];
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let rejected = post_invalid(&server, stream, "application/json").await;
    assert_eq!(problem_kind(&rejected), "payload-too-large");
}

async fn unfinished_bodies_are_400_or_408(database: Database) {
    let server = Server::start(&database, &[("REQUEST_TIMEOUT", "500ms")]).await;
    let address = server.address();
    let head = "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";

    let mut stopped = TcpStream::connect(address).await.unwrap();
    stopped.write_all(head.as_bytes()).await.unwrap();
    stopped.shutdown().await.unwrap();
    let mut response = String::new();
    stopped.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    assert!(
        response.contains("urn:problem:order-service:malformed-request"),
        "{response}"
    );

    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut response = vec![0; 2000];
    let read = tokio::time::timeout(Duration::from_secs(5), slow.read(&mut response));
    let length = read.await.unwrap().unwrap();
    let response = String::from_utf8_lossy(&response[..length]).into_owned();
    assert!(response.starts_with("HTTP/1.1 408"), "{response}");
    assert!(
        response.contains("urn:problem:order-service:request-timeout"),
        "{response}"
    );
    assert_eq!(database.count("orders").await, 0);
}

async fn paths_and_queries_that_are_not_utf_8_match_nothing(database: Database) {
    let server = Server::start(&database, &[]).await;
    // The character that a lenient decoder returns for %FF.
    server.create("\u{fffd}").await;
    let list = server.get("/api/v1/orders?product_id=%EF%BF%BD");
    let list: Vec<Value> = list.await.json();
    assert_eq!(list.len(), 1);
    for (query, pointer) in [
        ("product_id=%FF", "/product_id"),
        ("product_id=a%C3", "/product_id"),
        ("customer_id=%ED%A0%80", "/customer_id"),
        ("%FF=1", "/%FF"),
        ("limit=%FF", "/limit"),
    ] {
        for path in ["/api/v1/orders", "/api/v1/events"] {
            let rejected = problem(server.get(&format!("{path}?{query}")).await);
            assert_eq!(
                problem_kind(&rejected),
                "validation-failed",
                "{path} {query}"
            );
            assert_eq!(rejected["errors"][0]["pointer"], pointer, "{path} {query}");
        }
    }
    for path in [
        "/api/v1/orders/%FF",
        "/api/v1/orders/%FF/events",
        "/docs/%FF",
    ] {
        assert_eq!(
            problem_kind(&problem(server.get(path).await)),
            "not-found",
            "{path}"
        );
    }
}
