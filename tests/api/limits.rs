//! Each limit is told apart and none is a 5xx; slow clients are cut off and keep nobody else out.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::server::{Server, problem, slug};

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.api.strip_prefix("http://").unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_problem() {
    let server = Server::on_sqlite(&[]).await;
    let long = "x".repeat(9_000);
    let refused = problem(
        server
            .get(&format!("/api/v1/orders?product_id={long}"))
            .await,
    );
    assert_eq!(slug(&refused), "malformed-request");
    assert!(
        refused["detail"].as_str().unwrap().contains("8192"),
        "{refused}"
    );

    let mut many = server.client.get(server.url("/healthz"));
    for i in 0..70 {
        many = many.header(&format!("x-{i}"), "v");
    }
    let refused = problem(many.send().await.unwrap());
    assert!(
        refused["detail"].as_str().unwrap().contains("64 headers"),
        "{refused}"
    );

    let large = server
        .client
        .get(server.url("/healthz"))
        .header("x-large", "v".repeat(40_000));
    let refused = problem(large.send().await.unwrap());
    assert!(
        refused["detail"].as_str().unwrap().contains("32768"),
        "{refused}"
    );
    assert_eq!(server.status("/healthz").await, 200);
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_cut_off() {
    let server = Server::on_sqlite(&[("REQUEST_TIMEOUT", "2s")]).await;
    let whole = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";
    for (before, slowly, answers) in [
        ("", "GET /healthz HTTP/1.1\r\nX: ", 0),
        (head, "", 0),
        // Not only the first request of a connection, and also one that stops.
        (whole, "GET /healthz HTTP/1.1\r\nX: ", 1),
        (whole, "G", 1),
    ] {
        let mut stream = connect(&server).await;
        stream.write_all(before.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let start = Instant::now();
        let (mut reader, mut writer) = stream.split();
        let endless = if slowly == "G" { 0 } else { 1_000 };
        let drip = async {
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
        tokio::select! { () = drip => {}, () = read => {} }
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{before:?} {slowly:?}"
        );
        let text = String::from_utf8_lossy(&received).into_owned();
        let last = text
            .split("HTTP/1.1 ")
            .nth(answers + 1)
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
    let scrape = server.scrape().await;
    let counted = "http_requests_total{method=\"other\",path=\"unmatched\",status=\"408\"} 3";
    assert!(scrape.contains(counted), "{scrape}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_slow_clients_do_not_keep_others_from_being_served() {
    let server = Server::on_sqlite(&[("REQUEST_TIMEOUT", "5s")]).await;
    let mut slow = Vec::new();
    for i in 0..500 {
        let mut stream = connect(&server).await;
        let part = if i % 2 == 0 {
            "GET /api/v1/orders HTTP/1.1\r\nHos"
        } else {
            "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        };
        stream.write_all(part.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for i in 0..100 {
        let order = server.place(&format!("sku-{i}")).await;
        let path = format!("/api/v1/orders/{}", order["id"].as_str().unwrap());
        assert_eq!(server.status(&path).await, 200);
    }
    // And they do not stay.
    for stream in &mut slow {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(15), read)
            .await
            .expect("cut off");
        assert!(
            answer.starts_with(b"HTTP/1.1 408"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}
