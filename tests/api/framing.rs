//! How requests and responses are delimited (RFC 9112), and that every response is in one form.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::eventually;
use crate::support::raw::Raw;
use crate::support::server::Server;

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

const ORDER: &str = r#"{"product_id":"sku-1","quantity":1}"#;

/// Heads that are refused, and whether their path is known.
const MALFORMED: [(&str, bool); 15] = [
    ("GET /healthz HTTP/1.1\r\n\r\n", true),
    ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", true),
    (
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n{",
        true,
    ),
    (
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: one\r\n\r\n{",
        true,
    ),
    (
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n{",
        true,
    ),
    (
        "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{",
        true,
    ),
    (
        "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n{",
        true,
    ),
    (
        "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n{",
        true,
    ),
    ("POST /healthz HTTP/1.0\r\n\r\n", true),
    (
        "POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        true,
    ),
    ("GET /healthz HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n", true),
    ("GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", true),
    (
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX: y\r\n folded\r\n\r\n",
        true,
    ),
    ("GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", true),
    ("GET healthz HTTP/1.1\r\nHost: x\r\n\r\n", false),
];

#[tokio::test]
async fn a_malformed_head_is_a_problem_that_is_counted_and_logged() {
    let server = Server::on_sqlite(&[("RUST_LOG", "debug")]).await;
    let mut metrics_too = 0;
    for url in [&server.api, &server.metrics] {
        for (head, _) in MALFORMED {
            let mut client = Raw::to(url).await;
            client.send(head).await;
            let response = client.response().await;
            assert_eq!(response.status, 400, "{head}");
            assert_eq!(response.problem(), "malformed-request", "{head}");
            assert!(response.closes() || head.contains("HTTP/1.0"), "{head}");
            client.ends().await;
            metrics_too += 1;
        }
    }
    assert_eq!(metrics_too, 2 * MALFORMED.len());
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
        let access = server.logs().into_iter();
        let access =
            access.filter(|l| l["target"] == "order_service::access" && l["status"] == 400);
        access.count() == 2 * MALFORMED.len()
    })
    .await;
    assert!(server.logs().iter().all(|line| line["level"] != "ERROR"));
}

#[tokio::test]
async fn a_refused_request_keeps_its_id_and_is_answered_after_those_before_it() {
    let server = Server::on_sqlite(&[]).await;
    let mut client = Raw::to(&server.api).await;
    let bad = "GET /nope?a=b HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nHost: y\r\n\r\n";
    client
        .send(format!("{}{GET}{bad}{GET}", post("", ORDER)))
        .await;
    assert_eq!(client.response().await.status, 201);
    assert_eq!(client.response().await.status, 200);
    let response = client.response().await;
    assert_eq!(response.problem(), "malformed-request");
    assert_eq!(response.header("x-request-id"), Some("mine"));
    assert!(String::from_utf8_lossy(&response.body).contains("\"instance\":\"/nope\""));
    client.ends().await;
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_a_problem() {
    let server = Server::on_sqlite(&[]).await;
    let many: String = (0..150).map(|i| format!("X-{i}: v\r\n")).collect();
    let large = format!("X: {}\r\n", "v".repeat(300_000));
    for url in [&server.api, &server.metrics] {
        for (headers, limit) in [(&many, "64 headers"), (&large, "32768")] {
            let mut client = Raw::to(url).await;
            let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
            client.send(request).await;
            let response = client.response().await;
            assert_eq!(response.problem(), "malformed-request");
            let body = String::from_utf8_lossy(&response.body);
            assert!(body.contains(limit), "{body}");
            client.ends().await;
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused_at_once() {
    let server = Server::on_sqlite(&[]).await;
    for garbage in [
        &b"\x16\x03\x01\x00\xc8\x01"[..],
        b"\x00",
        b"{}\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = Raw::to(&server.api).await;
        client.send(garbage).await;
        assert_eq!(client.response().await.status, 400);
        client.ends().await;
    }
    let logs = server.logs();
    assert!(logs.iter().all(|line| line["level"] != "ERROR"), "{logs:?}");
}

#[tokio::test]
async fn nothing_behind_the_last_request_is_answered() {
    let server = Server::on_sqlite(&[]).await;
    for last in [
        "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.0\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.0\r\nConnection: te\r\n\r\n".to_owned(),
        post("Connection: close\r\n", ORDER),
        post("Connection: keep-alive\r\nConnection: te, close\r\n", ORDER),
    ] {
        // In one packet, and each behind the other.
        for apart in [false, true] {
            let mut client = Raw::to(&server.api).await;
            if apart {
                client.send(&last).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = client.stream.write_all(GET.repeat(3).as_bytes()).await;
            } else {
                client.send(format!("{GET}{last}{}", GET.repeat(3))).await;
                assert_eq!(client.response().await.status, 200);
            }
            let response = client.response().await;
            assert!(matches!(response.status, 200 | 201), "{response:?}");
            client.ends().await;
        }
    }
}

#[tokio::test]
async fn nothing_behind_a_response_that_closes_is_answered() {
    let server = Server::on_sqlite(&[("DRAIN_DELAY", "5s")]).await;
    let mut client = Raw::to(&server.api).await;
    client.is_usable().await;
    server.signal(15);
    eventually("it drains", Duration::from_secs(2), async || {
        server.status("/readyz").await == 503
    })
    .await;
    client.send(GET.repeat(3)).await;
    assert!(client.response().await.closes());
    client.ends().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_each_by_its_own_method() {
    let server = Server::on_sqlite(&[]).await;
    let mut client = Raw::to(&server.api).await;
    let head = GET.replace("GET", "HEAD");
    let many = format!(
        "{GET}{head}{}{head}\r\n{}{GET}",
        post("", ORDER),
        post("", ORDER)
    );
    // Whole, and byte by byte.
    client.send(&many).await;
    for byte in many.bytes() {
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
    client.is_usable().await;
    // A client that closes its side still gets every response.
    client.send(GET.repeat(40)).await;
    client.stream.shutdown().await.unwrap();
    for _ in 0..40 {
        assert_eq!(client.response().await.status, 200);
    }
    client.ends().await;
}

#[tokio::test]
async fn a_chunked_body_is_read_to_its_end_and_a_broken_one_gets_one_response() {
    let server = Server::on_sqlite(&[]).await;
    let head = "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    let (first, second) = ORDER.split_at(10);
    let good = format!(
        "{:x};a=b\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n",
        first.len(),
        second.len()
    );
    let mut client = Raw::to(&server.api).await;
    client.send(format!("{head}{good}{head}{good}")).await;
    assert_eq!(client.response().await.status, 201);
    assert_eq!(client.response().await.status, 201);
    client.is_usable().await;
    for broken in [
        "zz\r\n",
        "5\r\nhelloworld",
        "5\nhello",
        "fffffffffffffffff\r\n",
    ] {
        let mut client = Raw::to(&server.api).await;
        client.send(format!("{head}{broken}{GET}")).await;
        let response = client.response().await;
        assert_eq!(response.problem(), "malformed-request", "{broken}");
        assert!(response.closes());
        client.ends().await;
    }
}

#[tokio::test]
async fn http_1_0_gets_no_chunks() {
    let server = Server::on_sqlite(&[]).await;
    let id = server.place("sku-1").await["id"].to_string();
    let mut client = Raw::to(&server.api).await;
    for (connection, keeps) in [("keep-alive", true), ("close", false)] {
        let request = format!("GET /api/v1/orders HTTP/1.0\r\nConnection: {connection}\r\n\r\n");
        client.send(request).await;
        let response = client.response().await;
        assert!(response.head.starts_with("http/1.0 200"), "{response:?}");
        assert_eq!(response.header("connection") == Some("keep-alive"), keeps);
        assert!(response.header("content-length").is_some());
    }
    client.ends().await;
    for connection in ["", "Connection: keep-alive\r\n"] {
        let mut client = Raw::to(&server.api).await;
        let request =
            format!("GET /api/v1/events HTTP/1.0\r\nAccept: text/event-stream\r\n{connection}\r\n");
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
async fn a_slow_head_gets_a_response_like_every_other() {
    let server = Server::on_sqlite(&[("REQUEST_TIMEOUT", "500ms")]).await;
    for url in [&server.api, &server.metrics] {
        let mut client = Raw::to(url).await;
        client.send("GET /healthz HT").await;
        let response = client.response().await;
        assert_eq!(response.status, 408);
        assert_eq!(response.problem(), "request-timeout");
        assert!(response.closes());
        client.ends().await;
    }
}
