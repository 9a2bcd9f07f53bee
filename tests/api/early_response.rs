//! A response that is sent before its request is complete reaches the client (RFC 9112, section 9.6).

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::raw_client::RawClient;
use crate::support::server::Server;

const ORDER: &str = r#"{"product_id":"sku-1","quantity":1}"#;

/// The head of a request.
fn head(target: &str, kind: &str, length: usize) -> String {
    format!(
        "{target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Requests that are rejected before or while their body is read: target, content type and status.
const EARLY: [(&str, &str, u16); 6] = [
    ("POST /nope", "application/json", 404),
    ("POST /healthz", "application/json", 405),
    ("DELETE /api/v1/orders", "application/json", 405),
    ("POST /api/v1/orders", "text/plain", 415),
    ("POST /api/v1/orders?x=y", "text/plain", 415),
    ("GET /api/v1/orders?x=y", "application/json", 422),
];

#[tokio::test]
async fn after_an_early_response_a_small_body_is_discarded_and_the_connection_stays() {
    let server = Server::on_sqlite(&[]).await;
    for (target, kind, status) in EARLY {
        let body = "x".repeat(100_000);
        // The number of bytes of the body that are sent before the response.
        for sent_before in [0, 1, 50_000, 100_000] {
            let mut client = RawClient::connect(&server.api).await;
            let (now, later) = body.split_at(sent_before);
            client
                .send(format!("{}{now}", head(target, kind, body.len())))
                .await;
            let response = client.response().await;
            assert_eq!(response.status, status, "{target}");
            assert!(!response.announces_close(), "{target} {sent_before}");
            client.send(later).await;
            client.expect_usable().await;
            client.expect_usable().await;
        }
    }
    // Slightly larger than the limit.
    let mut client = RawClient::connect(&server.api).await;
    let body = "x".repeat(70_000);
    let request = head("POST /api/v1/orders", "application/json", body.len());
    client.send(request + &body).await;
    assert_eq!(client.response().await.problem_kind(), "payload-too-large");
    client.expect_usable().await;
}

#[tokio::test]
async fn after_an_early_response_a_chunked_body_is_discarded_and_the_connection_stays() {
    let server = Server::on_sqlite(&[]).await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for (target, kind, status) in EARLY {
        let mut client = RawClient::connect(&server.api).await;
        let head = head(target, kind, 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
        client.send(format!("{head}{chunk}")).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{target}");
        assert!(!response.announces_close(), "{target}");
        client.send(format!("{}0\r\n\r\n", chunk.repeat(20))).await;
        client.expect_usable().await;
    }
    let mut client = RawClient::connect(&server.api).await;
    let head = head("POST /api/v1/orders", "application/json", 0)
        .replace("Content-Length: 0", "Transfer-Encoding: chunked");
    client.send(format!("{head}{}", chunk.repeat(8))).await;
    assert_eq!(client.response().await.problem_kind(), "payload-too-large");
    client.send("0\r\n\r\n").await;
    client.expect_usable().await;
}

#[tokio::test]
async fn a_large_body_is_read_so_that_an_early_response_arrives() {
    const LENGTH: usize = 12 * 1024 * 1024;
    let server = Server::on_sqlite(&[]).await;
    let chunked = "Transfer-Encoding: chunked";
    for (target, kind, status) in
        EARLY
            .into_iter()
            .chain([("POST /api/v1/orders", "application/json", 413)])
    {
        for chunks in [false, true] {
            let mut client = RawClient::connect(&server.api).await;
            let mut request = head(target, kind, LENGTH);
            let mut part = "x".repeat(LENGTH / 12);
            if chunks {
                request = request.replace(&format!("Content-Length: {LENGTH}"), chunked);
                part = format!("{:x}\r\n{part}\r\n", part.len());
            }
            client.send(request).await;
            for _ in 0..12 {
                // A client that reads the response only after it has sent everything.
                client.send(&part).await;
            }
            let response = client.response().await;
            assert_eq!(response.status, status, "{target}");
            if chunks {
                client.send("0\r\n\r\n").await;
                client.expect_usable().await;
            } else {
                assert!(response.announces_close(), "{target}");
                client.stream.shutdown().await.unwrap();
                client.expect_close().await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_without_end_is_closed() {
    let server = Server::on_sqlite(&[]).await;
    for (what, kind) in [
        ("Content-Length: 99999999999", "text/plain"),
        ("Transfer-Encoding: chunked", "application/json"),
    ] {
        // A fast client is closed after about 16 MiB, a slow one after 5 s.
        for (pause, least) in [(Duration::ZERO, 16 << 20), (Duration::from_millis(50), 0)] {
            let mut client = RawClient::connect(&server.api).await;
            let head = head("POST /api/v1/orders", kind, 0).replace("Content-Length: 0", what);
            client.send(head).await;
            let body = if what.starts_with('T') {
                "ffff\r\n"
            } else {
                ""
            };
            let part = format!(
                "{body}{}{}",
                "x".repeat(0xffff),
                if body.is_empty() { "" } else { "\r\n" }
            );
            let start = Instant::now();
            let mut sent = 0;
            let (mut reader, mut writer) = client.stream.split();
            let mut received = Vec::new();
            let sending = async {
                while writer.write_all(part.as_bytes()).await.is_ok() {
                    sent += part.len();
                    tokio::time::sleep(pause).await;
                }
            };
            let reading = async {
                let _ = reader.read_to_end(&mut received).await;
            };
            tokio::time::timeout(Duration::from_secs(12), async {
                tokio::join!(sending, reading)
            })
            .await
            .expect("it is closed");
            let text = String::from_utf8_lossy(&received);
            assert!(text.starts_with("HTTP/1.1 4"), "{text}");
            assert!(sent >= least && sent < 64 << 20, "{what} {sent}");
            let slow = pause > Duration::ZERO;
            assert!(
                !slow || start.elapsed() > Duration::from_millis(4_500),
                "{what}"
            );
        }
    }
    assert_eq!(server.status("/healthz").await, 200);
}

#[tokio::test]
async fn an_upgrade_is_ignored_and_the_connection_stays() {
    let server = Server::on_sqlite(&[]).await;
    let mut client = RawClient::connect(&server.api).await;
    for upgrade in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
        "connection: keep-alive, upgrade\r\nUPGRADE: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
    ] {
        for _ in 0..3 {
            let request = format!(
                "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 {upgrade}Content-Length: {}\r\n\r\n{ORDER}",
                ORDER.len()
            );
            client.send(request).await;
            let response = client.response().await;
            assert_eq!(response.status, 201, "{upgrade}");
            assert_eq!(response.header("connection"), None, "{upgrade}");
            assert_eq!(response.header("upgrade"), None);
            client
                .send(format!(
                    "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n"
                ))
                .await;
            assert_eq!(client.response().await.header("connection"), None);
            // Byte by byte.
            for byte in format!("GET /nope HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n").bytes() {
                client.send([byte]).await;
            }
            assert_eq!(client.response().await.status, 404);
        }
    }
}

#[tokio::test]
async fn a_body_that_never_arrives_closes_the_connection() {
    let server = Server::on_sqlite(&[]).await;
    let mut client = RawClient::connect(&server.api).await;
    client
        .send(head("GET /healthz", "application/json", 100))
        .await;
    let start = Instant::now();
    assert_eq!(client.response().await.status, 200);
    client.expect_close().await;
    let took = start.elapsed();
    assert!(
        took > Duration::from_secs(4) && took < Duration::from_secs(8),
        "{took:?}"
    );
}
