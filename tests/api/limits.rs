//! Limits of requests: each has its own message and none is a 5xx. Slow clients are closed and do not delay others.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::orders::order_path;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

async fn open_connection(server: &Server) -> TcpStream {
    TcpStream::connect(server.address()).await.unwrap()
}

#[tokio::test]
async fn a_problem_names_the_limit_that_a_request_head_exceeds() {
    let server = Server::on_sqlite(&[]).await;
    let long = "x".repeat(9_000);
    let rejected = problem(
        server
            .get(&format!("/api/v1/orders?product_id={long}"))
            .await,
    );
    assert_eq!(problem_kind(&rejected), "malformed-request");
    assert!(
        rejected["detail"].as_str().unwrap().contains("8192"),
        "{rejected}"
    );

    let mut many = server.client.get(server.url("/healthz"));
    for i in 0..70 {
        many = many.header(&format!("x-{i}"), "v");
    }
    let rejected = problem(many.send().await.unwrap());
    assert!(
        rejected["detail"].as_str().unwrap().contains("64 headers"),
        "{rejected}"
    );

    let large = server
        .client
        .get(server.url("/healthz"))
        .header("x-large", "v".repeat(40_000));
    let rejected = problem(large.send().await.unwrap());
    assert!(
        rejected["detail"].as_str().unwrap().contains("32768"),
        "{rejected}"
    );
    assert_eq!(server.status("/healthz").await, 200);
}

#[tokio::test]
async fn slow_heads_and_bodies_get_408_and_a_closed_connection() {
    let server = Server::on_sqlite(&[("REQUEST_TIMEOUT", "2s")]).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let head = "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";
    for (before, slowly, responses) in [
        ("", "GET /healthz HTTP/1.1\r\nX: ", 0),
        (head, "", 0),
        // The timeout also applies to later requests of a connection, and to a client that stops sending.
        (request, "GET /healthz HTTP/1.1\r\nX: ", 1),
        (request, "G", 1),
    ] {
        let mut stream = open_connection(&server).await;
        stream.write_all(before.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let start = Instant::now();
        let (mut reader, mut writer) = stream.split();
        let endless = if slowly == "G" { 0 } else { 1_000 };
        let send_slowly = async {
            for byte in slowly.bytes().chain(std::iter::repeat_n(b'x', endless)) {
                if writer.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut received = Vec::new();
        let read = async {
            let _ = reader.read_to_end(&mut received).await;
        };
        tokio::select! { () = send_slowly => {}, () = read => {} }
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{before:?} {slowly:?}"
        );
        let text = String::from_utf8_lossy(&received).into_owned();
        let last = text
            .split("HTTP/1.1 ")
            .nth(responses + 1)
            .unwrap_or_else(|| panic!("{text}"));
        assert!(last.starts_with("408"), "{text}");
        for part in [
            "content-type: application/problem+json",
            "x-request-id: ",
            "urn:problem:order-service:request-timeout",
        ] {
            assert!(last.contains(part), "{part} in {text}");
        }
    }
    let series = "http_requests_total{method=\"other\",path=\"unmatched\",status=\"408\"}";
    assert_eq!(server.metric::<u64>(series).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_slow_clients_do_not_delay_others_and_are_closed() {
    let server = Server::on_sqlite(&[("REQUEST_TIMEOUT", "5s")]).await;
    let mut slow = Vec::new();
    for i in 0..500 {
        let mut stream = open_connection(&server).await;
        let part = if i % 2 == 0 {
            "GET /api/v1/orders HTTP/1.1\r\nHos"
        } else {
            "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        };
        stream.write_all(part.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for i in 0..100 {
        let order = server.create(&format!("sku-{i}")).await;
        let path = order_path(&order);
        assert_eq!(server.status(&path).await, 200);
    }
    // The slow clients are closed.
    for stream in &mut slow {
        let mut response = Vec::new();
        let read = stream.read_to_end(&mut response);
        let _ = tokio::time::timeout(Duration::from_secs(15), read)
            .await
            .expect("it is closed");
        assert!(
            response.starts_with(b"HTTP/1.1 408"),
            "{}",
            String::from_utf8_lossy(&response)
        );
    }
}
