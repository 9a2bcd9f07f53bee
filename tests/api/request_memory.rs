//! Request bodies that never end are bounded in memory.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::eventually;
use crate::support::raw::Raw;
use crate::support::server::Server;

/// The resident set, in KiB.
fn rss(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

/// A client that sends as much as the server takes within a moment.
async fn push(server: &Server, bytes: &[u8]) -> Raw {
    let mut client = Raw::to(&server.api).await;
    let write = client.stream.write_all(bytes);
    let _ = tokio::time::timeout(Duration::from_millis(300), write).await;
    client
}

async fn push_many(server: &Server, clients: usize, bytes: &[u8]) -> Vec<Raw> {
    futures_util::future::join_all((0..clients).map(|_| push(server, bytes))).await
}

fn post(length: &str) -> String {
    format!(
        "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    )
}

const CHUNKED: &str = "Transfer-Encoding: chunked";

#[tokio::test]
async fn chunks_of_one_byte_take_no_more_memory_than_others() {
    const CLIENTS: usize = 60;
    let tiny = "1\r\n \r\n".repeat(50_000);
    let stream = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{CHUNKED}\r\n\r\n"
    );
    for head in [post(CHUNKED), stream] {
        let server = Server::on_sqlite(&[]).await;
        server.place("sku-1").await;
        let before = rss(&server);
        let clients = push_many(&server, CLIENTS, format!("{head}{tiny}").as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let each = rss(&server).saturating_sub(before) / CLIENTS;
        eprintln!("{each} KiB for each client");
        assert!(each < 160, "{each} KiB for each client: {head}");
        drop(clients);
        server.place("sku-1").await;
    }
}

#[tokio::test]
async fn a_body_in_chunks_of_one_byte_is_read() {
    let server = Server::on_sqlite(&[]).await;
    let order = format!(
        r#"{{"product_id":"sku-1","quantity":1}}{}"#,
        " ".repeat(30_000)
    );
    let chunks: String = order
        .chars()
        .map(|char| format!("1\r\n{char}\r\n"))
        .collect();
    let mut client = Raw::to(&server.api).await;
    for _ in 0..2 {
        client
            .send(format!("{}{chunks}0\r\n\r\n", post(CHUNKED)))
            .await;
        assert_eq!(client.response().await.status, 201);
    }
    client.is_usable().await;
}

#[tokio::test]
async fn bodies_that_never_end_have_a_budget_and_small_ones_need_none() {
    const SENT: usize = 60_000;
    let server = Server::on_sqlite(&[("MAX_CONNECTIONS", "3000")]).await;
    server.place("sku-1").await;
    let before = rss(&server);
    let head = post("Content-Length: 65536");
    let half = format!("{head}{}", " ".repeat(SENT));
    let mut clients = push_many(&server, 600, half.as_bytes()).await;
    let mut late = Raw::to(&server.api).await;
    late.send(&head).await;
    let response = late.response().await;
    assert_eq!(
        (response.status, response.problem().as_str()),
        (503, "overloaded")
    );
    assert!(response.header("retry-after").is_some());
    let grown = (rss(&server).saturating_sub(before)) / 1024;
    eprintln!("{grown} MiB");
    // 32 MiB of bodies, and the buffers of 600 connections.
    assert!(grown < 72, "{grown} MiB");
    // A chunked one is refused when it has grown.
    let mut late = Raw::to(&server.api).await;
    let chunk = format!("5000\r\n{}\r\n", " ".repeat(0x5000));
    late.send(format!("{}{chunk}", post(CHUNKED))).await;
    assert_eq!(late.response().await.problem(), "overloaded");
    server.place("small").await;
    assert_eq!(server.status("/readyz").await, 200);
    // What is complete makes room.
    let order = format!(
        r#"{{"product_id":"s","quantity":1}}{}"#,
        " ".repeat(65_536 - 31)
    );
    assert_eq!(order.len(), 65_536);
    for client in &mut clients[..100] {
        let _ = client.stream.shutdown().await;
    }
    eventually("there is room", Duration::from_secs(5), async || {
        let mut late = Raw::to(&server.api).await;
        late.send(format!("{head}{order}")).await;
        late.response().await.status == 201
    })
    .await;
}
