//! Unfinished request bodies take a bounded amount of memory.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::principals::{credential, with_principals};
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

/// The same with the credential of a principal.
fn post_head_as(principal: &str, length: &str) -> String {
    post_head(&format!(
        "{length}\r\nAuthorization: {}",
        credential(principal)
    ))
}

#[tokio::test]
async fn unfinished_bodies_share_a_budget_and_small_bodies_need_none() {
    const SENT: usize = 60_000;
    const LENGTH: &str = "Content-Length: 65536";
    // No body is given up during the test, also on a busy machine.
    let variables = [("MAX_CONNECTIONS", "3000"), ("REQUEST_TIMEOUT", "120s")];
    let database = Database::sqlite();
    let (server, _file) = with_principals(&database, &variables).await;
    server.create("sku-1").await;
    let before = server.resident_memory_kib();
    let order = format!(
        r#"{{"product_id":"s","quantity":1}}{}"#,
        " ".repeat(65_536 - 31)
    );
    assert_eq!(order.len(), 65_536);
    let unfinished = async |principal: &str, clients| {
        let head = post_head_as(principal, LENGTH);
        let unfinished = format!("{head}{}", " ".repeat(SENT));
        many_send_for_a_moment(&server, clients, unfinished.as_bytes()).await
    };
    let response = async |request: String| {
        let mut client = RawClient::connect(&server.api).await;
        client.send(request).await;
        client.response().await
    };
    // Of the requests that are sent until one is rejected, those before it may be in time to get a part of the budget.
    // They keep it while they are open.
    let rejected = async |principal: &str| {
        let mut accepted = Vec::new();
        for _ in 0..100 {
            let mut client = RawClient::connect(&server.api).await;
            client.send(post_head_as(principal, LENGTH)).await;
            let response = tokio::time::timeout(Duration::from_millis(500), client.response());
            if let Ok(response) = response.await {
                return (response, accepted);
            }
            accepted.push(client);
        }
        panic!("{principal} is not rejected");
    };
    let whole = async |principal: &str| {
        let head = post_head_as(principal, LENGTH);
        response(format!("{head}{order}")).await
    };
    // Alone, a principal may hold half of the 32 MiB, which are 512 bodies. Another one is served.
    let mut clients = unfinished("a", 300).await;
    let (late, accepted) = rejected("a").await;
    clients.extend(accepted);
    assert_eq!(
        (late.status, late.problem_kind().as_str()),
        (429, "rate-limited")
    );
    assert!(late.header("retry-after").is_some());
    for _ in 0..3 {
        assert_eq!(whole("b").await.status, 201);
    }
    // Two principals may hold a third each, and three a quarter, so the third one uses up the budget before its share.
    clients.extend(unfinished("b", 180).await);
    // On a busy machine, the service may still be receiving these bodies.
    let (late, accepted) = rejected("b").await;
    assert_eq!(late.status, 429);
    clients.extend(accepted);
    clients.extend(unfinished("c", 120).await);
    let (late, accepted) = rejected("c").await;
    clients.extend(accepted);
    assert_eq!(
        (late.status, late.problem_kind().as_str()),
        (503, "overloaded")
    );
    assert!(late.header("retry-after").is_some());
    let grown = server.resident_memory_kib().saturating_sub(before) / 1024;
    eprintln!("{grown} MiB");
    // 32 MiB of bodies, and the buffers of 600 connections.
    assert!(grown < 72, "{grown} MiB");
    // A chunked body is rejected once it needs the budget.
    let chunk = format!("5000\r\n{}\r\n", " ".repeat(0x5000));
    let head = post_head_as("c", CHUNKED);
    assert_eq!(
        response(format!("{head}{chunk}")).await.problem_kind(),
        "overloaded"
    );
    server.create("small").await;
    assert_eq!(server.status("/readyz").await, 200);
    // Connections that close return their part of the budget.
    for client in &mut clients[..100] {
        let _ = client.stream.shutdown().await;
    }
    eventually("the budget is free", Duration::from_secs(5), async || {
        whole("d").await.status == 201
    })
    .await;
}
