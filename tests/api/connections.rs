//! What happens when more clients connect than are served.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::eventually;
use crate::support::raw::Raw;
use crate::support::server::Server;

async fn connections(server: &Server) -> i64 {
    let scrape = server.scrape().await;
    let line = scrape
        .lines()
        .find_map(|l| l.strip_prefix("http_connections "));
    line.unwrap().parse().unwrap()
}

/// A head that is not whole, so that its connection is not idle.
const HALF: &str = "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\n";

#[tokio::test]
async fn connections_are_counted_and_the_gauge_falls_when_they_end() {
    let server = Server::on_sqlite(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Raw::to(&server.api).await;
        client.is_usable().await;
        clients.push(client);
    }
    assert_eq!(connections(&server).await, 20);
    drop(clients);
    eventually("all are gone", Duration::from_secs(2), async || {
        connections(&server).await == 0
    })
    .await;
}

#[tokio::test]
async fn at_the_limit_idle_connections_are_closed_first() {
    let server = Server::on_sqlite(&[("MAX_CONNECTIONS", "10")]).await;
    let mut idle = Vec::new();
    for _ in 0..9 {
        let mut client = Raw::to(&server.api).await;
        client.is_usable().await;
        idle.push(client);
    }
    let mut working = Raw::to(&server.api).await;
    working.send(HALF).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut new = Vec::new();
    for _ in 0..9 {
        let mut client = Raw::to(&server.api).await;
        client.is_usable().await;
        client.is_usable().await;
        new.push(client);
    }
    for client in &mut idle {
        client.ends().await;
    }
    working.send("Content-Length: 2\r\n\r\n{}").await;
    assert_eq!(working.response().await.status, 415);
    for client in &mut new {
        client.is_usable().await;
    }
    eventually("ten are left", Duration::from_secs(2), async || {
        connections(&server).await == 10
    })
    .await;
}

#[tokio::test]
async fn beyond_the_limit_probes_get_through_and_others_are_told_why_not() {
    let server = Server::on_sqlite(&[("MAX_CONNECTIONS", "10")]).await;
    let mut working = Vec::new();
    for _ in 0..10 {
        let mut client = Raw::to(&server.api).await;
        client.send(HALF).await;
        working.push(client);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for path in ["/healthz", "/readyz"] {
        let mut client = Raw::to(&server.api).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.send(request.repeat(2)).await;
        let response = client.response().await;
        assert_eq!(response.status, 200, "{path}");
        assert!(response.closes());
        client.ends().await;
    }
    for path in ["/api/v1/orders", "/openapi.json", "/nope"] {
        let mut client = Raw::to(&server.api).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        let response = client.response().await;
        assert_eq!(response.status, 503, "{path}");
        assert_eq!(response.problem(), "overloaded");
        assert!(response.header("retry-after").is_some() && response.closes());
        client.ends().await;
    }
    // Those beyond the limit have a second, and there are 64 of them that have sent something.
    let start = Instant::now();
    let mut beyond = Vec::new();
    for _ in 0..64 {
        let mut client = Raw::to(&server.api).await;
        client.send("G").await;
        beyond.push(client);
    }
    let refused = |mut client: Raw| async move {
        let _ = client.stream.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        let mut byte = [0];
        let read = client.stream.read(&mut byte);
        let read = tokio::time::timeout(Duration::from_millis(300), read).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(connections(&server).await <= 74);
    assert!(refused(Raw::to(&server.api).await).await);
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
    let mut probe = Raw::to(&server.api).await;
    probe.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(probe.response().await.status, 200);
    // Those within the limit did not notice.
    for mut client in working {
        client.send("Content-Length: 2\r\n\r\n{}").await;
        assert_eq!(client.response().await.status, 415);
    }
}

#[tokio::test]
async fn the_limit_of_descriptors_is_respected() {
    let server = Server::with_descriptors(400).await;
    let logs = server.logs();
    let warned = logs
        .iter()
        .find(|line| line["max_connections"].is_number() && line["level"] == "WARN")
        .unwrap_or_else(|| panic!("{logs:?}"));
    let most = warned["max_connections"].as_i64().unwrap();
    assert!(most < 400, "{warned}");
    let mut clients = Vec::new();
    for _ in 0..500 {
        let mut client = Raw::to(&server.api).await;
        let _ = client.stream.write_all(HALF.as_bytes()).await;
        clients.push(client);
    }
    assert!(connections(&server).await <= most + 64);
    // Not one descriptor is missing where it is needed.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut probe = Raw::to(&server.api).await;
    probe.send("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(probe.response().await.status, 200);
}

/// Connects again and again, and sends nothing; keeps the last thousand.
fn silent_storm(server: &Server, pause: Duration) -> tokio::task::JoinHandle<()> {
    let url = server.api.clone();
    tokio::spawn(async move {
        let mut clients = std::collections::VecDeque::new();
        loop {
            clients.push_back(Raw::to(&url).await);
            if clients.len() > 1_000 {
                clients.pop_front();
            }
            tokio::time::sleep(pause).await;
        }
    })
}

/// How many of 20 probes are answered within a second.
async fn answered_probes(server: &Server) -> usize {
    let mut answered = 0;
    for _ in 0..20 {
        let probe = async {
            let mut client = Raw::to(&server.api).await;
            let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let _ = client.stream.write_all(request).await;
            let mut text = Vec::new();
            let _ = client.stream.read_to_end(&mut text).await;
            text.starts_with(b"HTTP/1.1 200")
        };
        let second = Duration::from_secs(1);
        if tokio::time::timeout(second, probe).await == Ok(true) {
            answered += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answered
}

#[tokio::test]
async fn silent_clients_do_not_keep_probes_out() {
    let server = Server::on_sqlite(&[("MAX_CONNECTIONS", "10")]).await;
    let mut working = Vec::new();
    for _ in 0..10 {
        let mut client = Raw::to(&server.api).await;
        client.send(HALF).await;
        working.push(client);
    }
    let storm = silent_storm(&server, Duration::from_millis(2));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answered = answered_probes(&server).await;
    storm.abort();
    assert!(answered >= 12, "{answered} of 20");
}

#[tokio::test]
async fn with_hardly_any_descriptors_probes_get_through_and_the_log_says_so() {
    let server = Server::with_descriptors(64).await;
    let logs = server.logs();
    let warned = logs.iter().any(|line| {
        line["level"] == "WARN"
            && line["msg"]
                .as_str()
                .is_some_and(|msg| msg.contains("too low"))
    });
    assert!(warned, "{logs:?}");
    // At once, while the workers start.
    let many = (0..150).map(|_| Raw::to(&server.api));
    let many = futures_util::future::join_all(many).await;
    let storm = silent_storm(&server, Duration::from_millis(10));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answered = answered_probes(&server).await;
    storm.abort();
    assert!(answered >= 10, "{answered} of 20");
    let _ = server.scrape().await;
    drop(many);
    assert_eq!(server.status("/readyz").await, 200);
    let mut logs = server.logs().into_iter();
    assert!(logs.all(|line| line["target"] != "order_service::panic"));
}
