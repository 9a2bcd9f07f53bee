//! Bad input is the client's fault and is told so: never a panic, never a 5xx.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::database::Database;
use crate::support::server::{Server, problem, slug};

crate::on_both!(
    bodies_that_do_not_fit_are_422,
    bodies_that_are_not_json_are_400,
    other_content_types_are_415,
    bodies_past_the_limit_are_413,
    unfinished_bodies_are_400_or_408,
    what_is_not_utf_8_in_a_path_or_a_query_matches_nothing,
);

async fn send(server: &Server, body: impl Into<reqwest::Body>, content_type: &str) -> Value {
    let request = server
        .client
        .post(server.url("/api/v1/orders"))
        .header("content-type", content_type)
        .body(body);
    problem(request.send().await.unwrap())
}

async fn bodies_that_do_not_fit_are_422(database: Database) {
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
        let refused = send(&server, body.to_string(), "application/json").await;
        assert_eq!(slug(&refused), "validation-failed", "{body} {refused}");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{body} {refused}");
        assert!(!refused["errors"][0]["detail"].as_str().unwrap().is_empty());
    }
    for text in [
        r#"{"product_id":"a","quantity":1,"quantity":2}"#,
        r#"{"product_id":"a","quantity":1e400}"#,
        &format!(r#"{{"product_id":"a","quantity":{}}}"#, "9".repeat(400)),
        r#"{"product_id":"a","quantity":1,"metadata":{"k":"1","k":"2"}}"#,
    ] {
        let refused = send(&server, text.to_owned(), "application/json").await;
        assert_eq!(slug(&refused), "validation-failed", "{text}");
    }
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 0);
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
        let refused = send(&server, body.to_vec(), "application/json").await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(slug(&refused), "malformed-request", "{shown} {refused}");
    }
    // Deep nesting that is JSON and no order.
    let refused = send(&server, deep, "application/json").await;
    assert!(
        ["malformed-request", "validation-failed"].contains(&slug(&refused)),
        "{refused}"
    );
    assert_eq!(server.status("/healthz").await, 200);
}

async fn other_content_types_are_415(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = r#"{"product_id":"a","quantity":1}"#;
    for content_type in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
    ] {
        let refused = send(&server, body, content_type).await;
        assert_eq!(slug(&refused), "unsupported-media-type", "{content_type}");
    }
    let url = server.url("/api/v1/orders");
    let without = server.client.post(&url).body(body).send().await.unwrap();
    assert_eq!(without.header("accept"), "application/json");
    assert_eq!(slug(&problem(without)), "unsupported-media-type");
    let request = server
        .client
        .post(&url)
        .header("content-type", "application/json");
    let packed = request
        .header("content-encoding", "gzip")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(packed.header("accept-encoding"), "identity");
    assert_eq!(slug(&problem(packed)), "unsupported-media-type");
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

async fn bodies_past_the_limit_are_413(database: Database) {
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
    let refused = send(&server, padded(1001), "application/json").await;
    assert_eq!(slug(&refused), "payload-too-large");
    // Without a length, the body is cut off when it has become too large.
    let chunks: Vec<Result<String, std::io::Error>> = vec![Ok(padded(600)), Ok(" ".repeat(600))];
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let refused = send(&server, stream, "application/json").await;
    assert_eq!(slug(&refused), "payload-too-large");
}

async fn unfinished_bodies_are_400_or_408(database: Database) {
    let server = Server::start(&database, &[("REQUEST_TIMEOUT", "500ms")]).await;
    let address = server.api.strip_prefix("http://").unwrap();
    let head = "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";

    let mut stopped = TcpStream::connect(address).await.unwrap();
    stopped.write_all(head.as_bytes()).await.unwrap();
    stopped.shutdown().await.unwrap();
    let mut answer = String::new();
    stopped.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains("urn:problem:order-service:malformed-request"),
        "{answer}"
    );

    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 2000];
    let read = tokio::time::timeout(Duration::from_secs(5), slow.read(&mut answer));
    let length = read.await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        answer.contains("urn:problem:order-service:request-timeout"),
        "{answer}"
    );
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 0);
}

async fn what_is_not_utf_8_in_a_path_or_a_query_matches_nothing(database: Database) {
    let server = Server::start(&database, &[]).await;
    // What a lenient reader makes of %FF.
    server.place("\u{fffd}").await;
    let found = |path: &'static str| server.get(path);
    let list: Vec<Value> = found("/api/v1/orders?product_id=%EF%BF%BD").await.json();
    assert_eq!(list.len(), 1);
    for (query, pointer) in [
        ("product_id=%FF", "/product_id"),
        ("product_id=a%C3", "/product_id"),
        ("customer_id=%ED%A0%80", "/customer_id"),
        ("%FF=1", "/%FF"),
        ("limit=%FF", "/limit"),
    ] {
        for path in ["/api/v1/orders", "/api/v1/events"] {
            let refused = problem(server.get(&format!("{path}?{query}")).await);
            assert_eq!(slug(&refused), "validation-failed", "{path} {query}");
            assert_eq!(refused["errors"][0]["pointer"], pointer, "{path} {query}");
        }
    }
    for path in [
        "/api/v1/orders/%FF",
        "/api/v1/orders/%FF/events",
        "/docs/%FF",
    ] {
        assert_eq!(
            slug(&problem(server.get(path).await)),
            "not-found",
            "{path}"
        );
    }
}
