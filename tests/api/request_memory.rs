//! Unfinished request bodies take a bounded amount of memory.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::eventually;
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

/// A client that has sent as many of the bytes as the server accepts within 300 ms.
async fn send_for_a_moment(server: &Server, bytes: &[u8]) -> RawClient {
    let mut client = RawClient::connect(&server.api).await;
    let write = client.stream.write_all(bytes);
    let _ = tokio::time::timeout(Duration::from_millis(300), write).await;
    client
}

async fn many_send_for_a_moment(server: &Server, clients: usize, bytes: &[u8]) -> Vec<RawClient> {
    futures_util::future::join_all((0..clients).map(|_| send_for_a_moment(server, bytes))).await
}

/// The head of a request for an order, with this header for the length of its body.
fn post_head(length: &str) -> String {
    format!(
        "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    )
}

const CHUNKED: &str = "Transfer-Encoding: chunked";

#[tokio::test]
async fn chunks_of_one_byte_take_no_more_memory_than_larger_ones() {
    const CLIENTS: usize = 60;
    let tiny = "1\r\n \r\n".repeat(50_000);
    let stream = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{CHUNKED}\r\n\r\n"
    );
    for head in [post_head(CHUNKED), stream] {
        let server = Server::on_sqlite(&[]).await;
        server.create("sku-1").await;
        let before = server.resident_memory_kib();
        let clients =
            many_send_for_a_moment(&server, CLIENTS, format!("{head}{tiny}").as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let each = server.resident_memory_kib().saturating_sub(before) / CLIENTS;
        eprintln!("{each} KiB for each client");
        assert!(each < 160, "{each} KiB for each client: {head}");
        drop(clients);
        server.create("sku-1").await;
    }
}

#[tokio::test]
async fn a_body_in_chunks_of_one_byte_is_accepted() {
    let server = Server::on_sqlite(&[]).await;
    let order = format!(
        r#"{{"product_id":"sku-1","quantity":1}}{}"#,
        " ".repeat(30_000)
    );
    let chunks: String = order
        .chars()
        .map(|char| format!("1\r\n{char}\r\n"))
        .collect();
    let mut client = RawClient::connect(&server.api).await;
    for _ in 0..2 {
        client
            .send(format!("{}{chunks}0\r\n\r\n", post_head(CHUNKED)))
            .await;
        assert_eq!(client.response().await.status, 201);
    }
    client.expect_usable().await;
}

#[tokio::test]
async fn unfinished_bodies_share_a_budget_and_small_bodies_need_none() {
    const SENT: usize = 60_000;
    let server = Server::on_sqlite(&[("MAX_CONNECTIONS", "3000")]).await;
    server.create("sku-1").await;
    let before = server.resident_memory_kib();
    let head = post_head("Content-Length: 65536");
    let unfinished = format!("{head}{}", " ".repeat(SENT));
    let mut clients = many_send_for_a_moment(&server, 600, unfinished.as_bytes()).await;
    let mut late = RawClient::connect(&server.api).await;
    late.send(&head).await;
    let response = late.response().await;
    assert_eq!(
        (response.status, response.problem_kind().as_str()),
        (503, "overloaded")
    );
    assert!(response.header("retry-after").is_some());
    let grown = server.resident_memory_kib().saturating_sub(before) / 1024;
    eprintln!("{grown} MiB");
    // 32 MiB of bodies, and the buffers of 600 connections.
    assert!(grown < 72, "{grown} MiB");
    // A chunked body is rejected once it needs the budget.
    let mut late = RawClient::connect(&server.api).await;
    let chunk = format!("5000\r\n{}\r\n", " ".repeat(0x5000));
    late.send(format!("{}{chunk}", post_head(CHUNKED))).await;
    assert_eq!(late.response().await.problem_kind(), "overloaded");
    server.create("small").await;
    assert_eq!(server.status("/readyz").await, 200);
    // Connections that close return their part of the budget.
    let order = format!(
        r#"{{"product_id":"s","quantity":1}}{}"#,
        " ".repeat(65_536 - 31)
    );
    assert_eq!(order.len(), 65_536);
    for client in &mut clients[..100] {
        let _ = client.stream.shutdown().await;
    }
    eventually("the budget is free", Duration::from_secs(5), async || {
        let mut late = RawClient::connect(&server.api).await;
        late.send(format!("{head}{order}")).await;
        late.response().await.status == 201
    })
    .await;
}
