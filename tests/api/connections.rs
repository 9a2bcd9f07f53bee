//! The limit of connections: idle ones are closed first, probes are served beyond it.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::eventually;
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

/// The beginning of a request, so that its connection is not idle.
const HALF_HEAD: &str = "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\n";

/// Opens connections that have sent the beginning of a request.
async fn busy_connections(server: &Server, count: usize) -> Vec<RawClient> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = RawClient::connect(&server.api).await;
        client.send(HALF_HEAD).await;
        clients.push(client);
    }
    clients
}

/// Opens connections that have sent a request and received its response.
async fn idle_connections(server: &Server, count: usize) -> Vec<RawClient> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = RawClient::connect(&server.api).await;
        client.expect_usable().await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn the_gauge_of_connections_follows_connects_and_closes() {
    let server = Server::on_sqlite(&[]).await;
    let clients = idle_connections(&server, 20).await;
    assert_eq!(server.metric::<i64>("http_connections").await, 20);
    drop(clients);
    eventually(
        "all connections are closed",
        Duration::from_secs(2),
        async || server.metric::<i64>("http_connections").await == 0,
    )
    .await;
}

#[tokio::test]
async fn at_the_limit_idle_connections_are_closed_first() {
    let server = Server::on_sqlite(&[("MAX_CONNECTIONS", "10")]).await;
    let mut idle = idle_connections(&server, 9).await;
    let mut busy = busy_connections(&server, 1).await.remove(0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut new = Vec::new();
    for _ in 0..9 {
        let mut client = RawClient::connect(&server.api).await;
        client.expect_usable().await;
        client.expect_usable().await;
        new.push(client);
    }
    for client in &mut idle {
        client.expect_close().await;
    }
    busy.send("Content-Length: 2\r\n\r\n{}").await;
    assert_eq!(busy.response().await.status, 415);
    for client in &mut new {
        client.expect_usable().await;
    }
    eventually(
        "ten connections are left",
        Duration::from_secs(2),
        async || server.metric::<i64>("http_connections").await == 10,
    )
    .await;
}

#[tokio::test]
async fn beyond_the_limit_probes_are_served_and_other_requests_are_rejected() {
    let server = Server::on_sqlite(&[("MAX_CONNECTIONS", "10")]).await;
    let busy = busy_connections(&server, 10).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for path in ["/healthz", "/readyz"] {
        let mut client = RawClient::connect(&server.api).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.send(request.repeat(2)).await;
        let response = client.response().await;
        assert_eq!(response.status, 200, "{path}");
        assert!(response.announces_close());
        client.expect_close().await;
    }
    for path in ["/api/v1/orders", "/openapi.json", "/nope"] {
        let mut client = RawClient::connect(&server.api).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await;
        let response = client.response().await;
        assert_eq!(response.status, 503, "{path}");
        assert_eq!(response.problem_kind(), "overloaded");
        assert!(response.header("retry-after").is_some() && response.announces_close());
        client.expect_close().await;
    }
    // Connections beyond the limit are closed after a second, and at most 64 of them may have sent bytes.
    let start = Instant::now();
    let mut beyond = Vec::new();
    for _ in 0..64 {
        let mut client = RawClient::connect(&server.api).await;
        client.send("G").await;
        beyond.push(client);
    }
    let is_closed = |mut client: RawClient| async move {
        let _ = client.stream.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        let mut byte = [0];
        let read = client.stream.read(&mut byte);
        let read = tokio::time::timeout(Duration::from_millis(300), read).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(server.metric::<i64>("http_connections").await <= 74);
    assert!(is_closed(RawClient::connect(&server.api).await).await);
    for client in &mut beyond {
        let mut byte = [0];
        let read = client.stream.read(&mut byte);
        let read = tokio::time::timeout(Duration::from_secs(3), read).await;
        assert!(matches!(read.unwrap(), Ok(0) | Err(_)));
    }
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(3),
        "{took:?}"
    );
    let mut probe = RawClient::connect(&server.api).await;
    probe
        .send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(probe.response().await.status, 200);
    // Connections within the limit are not affected.
    for mut client in busy {
        client.send("Content-Length: 2\r\n\r\n{}").await;
        assert_eq!(client.response().await.status, 415);
    }
}

#[tokio::test]
async fn the_connection_limit_leaves_file_descriptors_for_the_database() {
    let server = Server::with_descriptor_limit(400).await;
    let logs = server.logs();
    let warned = logs
        .iter()
        .find(|line| line["max_connections"].is_number() && line["level"] == "WARN")
        .unwrap_or_else(|| panic!("{logs:?}"));
    let limit = warned["max_connections"].as_i64().unwrap();
    assert!(limit < 400, "{warned}");
    let mut clients = Vec::new();
    for _ in 0..500 {
        let mut client = RawClient::connect(&server.api).await;
        let _ = client.stream.write_all(HALF_HEAD.as_bytes()).await;
        clients.push(client);
    }
    assert!(server.metric::<i64>("http_connections").await <= limit + 64);
    // The readiness check still gets the descriptors that it needs.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut probe = RawClient::connect(&server.api).await;
    probe
        .send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(probe.response().await.status, 200);
}

/// Opens connections with this pause in between, sends nothing, and keeps the last thousand open.
fn open_silent_connections(server: &Server, pause: Duration) -> tokio::task::JoinHandle<()> {
    let url = server.api.clone();
    tokio::spawn(async move {
        let mut clients = std::collections::VecDeque::new();
        loop {
            clients.push_back(RawClient::connect(&url).await);
            if clients.len() > 1_000 {
                clients.pop_front();
            }
            tokio::time::sleep(pause).await;
        }
    })
}

/// The number of 20 probes that get a response within a second.
async fn served_probes(server: &Server) -> usize {
    let mut served = 0;
    for _ in 0..20 {
        let probe = async {
            let mut client = RawClient::connect(&server.api).await;
            let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let _ = client.stream.write_all(request).await;
            let mut text = Vec::new();
            let _ = client.stream.read_to_end(&mut text).await;
            text.starts_with(b"HTTP/1.1 200")
        };
        let second = Duration::from_secs(1);
        if tokio::time::timeout(second, probe).await == Ok(true) {
            served += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    served
}

#[tokio::test]
async fn silent_clients_do_not_block_probes() {
    let server = Server::on_sqlite(&[("MAX_CONNECTIONS", "10")]).await;
    let _busy = busy_connections(&server, 10).await;
    let silent = open_silent_connections(&server, Duration::from_millis(2));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let served = served_probes(&server).await;
    silent.abort();
    assert!(served >= 12, "{served} of 20");
}

#[tokio::test]
async fn with_few_file_descriptors_probes_are_served_and_a_warning_is_logged() {
    let server = Server::with_descriptor_limit(64).await;
    let logs = server.logs();
    let warned = logs.iter().any(|line| {
        line["level"] == "WARN"
            && line["msg"]
                .as_str()
                .is_some_and(|msg| msg.contains("too low"))
    });
    assert!(warned, "{logs:?}");
    // Immediately, while the workers start.
    let many = (0..150).map(|_| RawClient::connect(&server.api));
    let many = futures_util::future::join_all(many).await;
    let silent = open_silent_connections(&server, Duration::from_millis(10));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let served = served_probes(&server).await;
    silent.abort();
    assert!(served >= 10, "{served} of 20");
    let _ = server.scrape().await;
    drop(many);
    assert_eq!(server.status("/readyz").await, 200);
    let mut logs = server.logs().into_iter();
    assert!(logs.all(|line| line["target"] != "order_service::panic"));
}
