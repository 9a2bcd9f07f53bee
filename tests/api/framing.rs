//! How requests and responses are delimited (RFC 9112), and that every error is a problem.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::eventually;
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

const ORDER: &str = r#"{"product_id":"sku-1","quantity":1}"#;

/// Heads that are rejected.
const MALFORMED: [&str; 15] = [
    "GET /healthz HTTP/1.1\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n{",
    "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: one\r\n\r\n{",
    "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\n{",
    "POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n{",
    "POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, chunked\r\n\r\n{",
    "POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n{",
    "POST /healthz HTTP/1.0\r\n\r\n",
    "POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nNo colon\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: y\r\n folded\r\n\r\n",
    "GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "GET healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

#[tokio::test]
async fn a_malformed_head_gets_a_problem_and_is_counted_and_logged() {
    let server = Server::on_sqlite(&[("RUST_LOG", "debug")]).await;
    for url in [&server.api, &server.metrics] {
        for head in MALFORMED {
            let mut client = RawClient::connect(url).await;
            client.send(head).await;
            let response = client.response().await;
            assert_eq!(response.status, 400, "{head}");
            assert_eq!(response.problem_kind(), "malformed-request", "{head}");
            assert!(
                response.announces_close() || head.contains("HTTP/1.0"),
                "{head}"
            );
            client.expect_close().await;
        }
    }
    let scrape = server.scrape().await;
    let count = |labels: &str| {
        let line = format!("http_requests_total{{{labels},status=\"400\"}} ");
        let found = scrape.lines().find_map(|l| l.strip_prefix(line.as_str()));
        found.map_or(0, |n| n.parse().unwrap())
    };
    assert_eq!(count("method=\"GET\",path=\"/healthz\""), 6, "{scrape}");
    assert_eq!(count("method=\"POST\",path=\"/healthz\""), 8, "{scrape}");
    assert_eq!(count("method=\"other\",path=\"unmatched\""), 1, "{scrape}");
    eventually("all are logged", Duration::from_secs(2), async || {
        let log = server.access_log();
        log.iter().filter(|line| line["status"] == 400).count() == 2 * MALFORMED.len()
    })
    .await;
    assert!(server.logs().iter().all(|line| line["level"] != "ERROR"));
}

#[tokio::test]
async fn a_malformed_request_keeps_its_id_and_gets_its_response_after_earlier_requests() {
    let server = Server::on_sqlite(&[]).await;
    let mut client = RawClient::connect(&server.api).await;
    let malformed =
        "GET /nope?a=b HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nHost: y\r\n\r\n";
    client
        .send(format!("{}{GET}{malformed}{GET}", post("", ORDER)))
        .await;
    assert_eq!(client.response().await.status, 201);
    assert_eq!(client.response().await.status, 200);
    let response = client.response().await;
    assert_eq!(response.problem_kind(), "malformed-request");
    assert_eq!(response.header("x-request-id"), Some("mine"));
    assert!(String::from_utf8_lossy(&response.body).contains("\"instance\":\"/nope\""));
    client.expect_close().await;
}

#[tokio::test]
async fn too_many_or_too_large_headers_get_a_problem_with_the_limit() {
    let server = Server::on_sqlite(&[]).await;
    let requests: String = (0..150).map(|i| format!("X-{i}: v\r\n")).collect();
    let large = format!("X: {}\r\n", "v".repeat(300_000));
    for url in [&server.api, &server.metrics] {
        for (headers, limit) in [(&requests, "64 headers"), (&large, "32768")] {
            let mut client = RawClient::connect(url).await;
            let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
            client.send(request).await;
            let response = client.response().await;
            assert_eq!(response.problem_kind(), "malformed-request");
            let body = String::from_utf8_lossy(&response.body);
            assert!(body.contains(limit), "{body}");
            client.expect_close().await;
        }
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_are_rejected_at_once() {
    let server = Server::on_sqlite(&[]).await;
    for bytes in [
        &b"\x16\x03\x01\x00\xc8\x01"[..],
        b"\x00",
        b"{}\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = RawClient::connect(&server.api).await;
        client.send(bytes).await;
        assert_eq!(client.response().await.status, 400);
        client.expect_close().await;
    }
    let logs = server.logs();
    assert!(logs.iter().all(|line| line["level"] != "ERROR"), "{logs:?}");
}

#[tokio::test]
async fn requests_behind_one_that_closes_the_connection_get_no_response() {
    let server = Server::on_sqlite(&[]).await;
    for last in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.0\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.0\r\nConnection: te\r\n\r\n".to_owned(),
        post("Connection: close\r\n", ORDER),
        post("Connection: keep-alive\r\nConnection: te, close\r\n", ORDER),
    ] {
        // In one packet, and one after the other.
        for separately in [false, true] {
            let mut client = RawClient::connect(&server.api).await;
            if separately {
                client.send(&last).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = client.stream.write_all(GET.repeat(3).as_bytes()).await;
            } else {
                client.send(format!("{GET}{last}{}", GET.repeat(3))).await;
                assert_eq!(client.response().await.status, 200);
            }
            let response = client.response().await;
            assert!(matches!(response.status, 200 | 201), "{response:?}");
            client.expect_close().await;
        }
    }
}

#[tokio::test]
async fn requests_behind_a_response_that_closes_the_connection_get_no_response() {
    let server = Server::on_sqlite(&[("DRAIN_DELAY", "5s")]).await;
    let mut client = RawClient::connect(&server.api).await;
    client.expect_usable().await;
    server.signal(15);
    eventually("it drains", Duration::from_secs(2), async || {
        server.status("/readyz").await == 503
    })
    .await;
    client.send(GET.repeat(3)).await;
    assert!(client.response().await.announces_close());
    client.expect_close().await;
}

#[tokio::test]
async fn pipelined_requests_get_their_responses_in_order() {
    let server = Server::on_sqlite(&[]).await;
    let mut client = RawClient::connect(&server.api).await;
    let head = GET.replace("GET", "HEAD");
    let requests = format!(
        "{GET}{head}{}{head}\r\n{}{GET}",
        post("", ORDER),
        post("", ORDER)
    );
    // At once, and byte by byte.
    client.send(&requests).await;
    for byte in requests.bytes() {
        client.send([byte]).await;
    }
    for _ in 0..2 {
        assert_eq!(client.response().await.status, 200);
        assert_eq!(client.response_to("HEAD").await.status, 200);
        assert_eq!(client.response().await.status, 201);
        assert_eq!(client.response_to("HEAD").await.status, 200);
        assert_eq!(client.response().await.status, 201);
        assert_eq!(client.response().await.status, 200);
    }
    client.expect_usable().await;
    // A client that shuts down its side still gets every response.
    client.send(GET.repeat(40)).await;
    client.stream.shutdown().await.unwrap();
    for _ in 0..40 {
        assert_eq!(client.response().await.status, 200);
    }
    client.expect_close().await;
}

#[tokio::test]
async fn a_chunked_body_is_read_to_its_end_and_a_malformed_one_gets_one_response() {
    let server = Server::on_sqlite(&[]).await;
    let head = "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    let (first, second) = ORDER.split_at(10);
    let body = format!(
        "{:x};a=b\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n",
        first.len(),
        second.len()
    );
    let mut client = RawClient::connect(&server.api).await;
    client.send(format!("{head}{body}{head}{body}")).await;
    assert_eq!(client.response().await.status, 201);
    assert_eq!(client.response().await.status, 201);
    client.expect_usable().await;
    for malformed in [
        "zz\r\n",
        "5\r\nhelloworld",
        "5\nhello",
        "fffffffffffffffff\r\n",
    ] {
        let mut client = RawClient::connect(&server.api).await;
        client.send(format!("{head}{malformed}{GET}")).await;
        let response = client.response().await;
        assert_eq!(response.problem_kind(), "malformed-request", "{malformed}");
        assert!(response.announces_close());
        client.expect_close().await;
    }
}

#[tokio::test]
async fn responses_to_http_1_0_are_not_chunked() {
    let server = Server::on_sqlite(&[]).await;
    let id = server.create("sku-1").await["id"].to_string();
    let mut client = RawClient::connect(&server.api).await;
    for (connection, keeps) in [("keep-alive", true), ("close", false)] {
        let request = format!(
            "GET /api/v1/orders HTTP/1.0\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n"
        );
        client.send(request).await;
        let response = client.response().await;
        assert!(response.head.starts_with("http/1.0 200"), "{response:?}");
        assert_eq!(response.header("connection") == Some("keep-alive"), keeps);
        assert!(response.header("content-length").is_some());
    }
    client.expect_close().await;
    for connection in ["", "Connection: keep-alive\r\n"] {
        let mut client = RawClient::connect(&server.api).await;
        let request = format!(
            "GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n{connection}\r\n"
        );
        client.send(request).await;
        let mut text = String::new();
        while !text.contains("\"order.created\"") {
            let mut part = [0; 4096];
            let read = tokio::io::AsyncReadExt::read(&mut client.stream, &mut part);
            let read = read.await.unwrap();
            assert!(read > 0, "{text}");
            text.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        assert!(text.starts_with("HTTP/1.0 200"), "{text}");
        assert!(!text.contains("transfer-encoding"), "{text}");
        assert!(!text.contains("keep-alive"), "{text}");
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(body.starts_with("retry: 1000\n\nid: "), "{text}");
        assert!(body.contains(id.trim_matches('"')));
    }
}

#[tokio::test]
async fn a_slow_head_gets_a_complete_problem() {
    let server = Server::on_sqlite(&[("REQUEST_TIMEOUT", "500ms")]).await;
    for url in [&server.api, &server.metrics] {
        let mut client = RawClient::connect(url).await;
        client.send("GET /healthz HT").await;
        let response = client.response().await;
        assert_eq!(response.status, 408);
        assert_eq!(response.problem_kind(), "request-timeout");
        assert!(response.announces_close());
        client.expect_close().await;
    }
}
