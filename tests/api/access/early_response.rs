//! A request that is rejected because of its credentials is received to its end, like other early responses.

use crate::support::auth_file::{AuthFile, api_key};
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

fn file() -> AuthFile {
    AuthFile::with_keys(&[
        ("reader", &["orders:read"], "default"),
        ("writer", &["orders:write"], "default"),
    ])
}

/// The head of a POST with these header lines.
fn head(lines: &str, length: usize) -> String {
    format!(
        "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{lines}\r\n"
    )
}

/// Header lines, and the status of the response.
fn rejected() -> [(String, u16); 4] {
    let reader = api_key("reader");
    [
        (String::new(), 401),
        ("Authorization: Bearer bad\r\n".to_owned(), 401),
        (format!("Authorization: Bearer {reader}\r\n"), 403),
        (format!("Authorization: Bearer {reader}\r\n").repeat(2), 400),
    ]
}

#[tokio::test]
async fn a_small_body_is_discarded_and_the_connection_stays_usable() {
    let file = file();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    for (lines, status) in rejected() {
        let body = "x".repeat(60_000);
        for sent_before in [0, 1, body.len()] {
            let mut client = RawClient::connect(&server.api).await;
            let (now, later) = body.split_at(sent_before);
            client.send(head(&lines, body.len()) + now).await;
            let response = client.response().await;
            assert_eq!(response.status, status, "{lines}");
            assert!(!response.announces_close(), "{lines} {sent_before}");
            client.send(later).await;
            client.expect_usable().await;
        }
    }
}

#[tokio::test]
async fn the_response_to_a_large_body_arrives_before_the_connection_closes() {
    let file = file();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    for (lines, status) in rejected() {
        let mut client = RawClient::connect(&server.api).await;
        let body = "x".repeat(8 << 20);
        client.send(head(&lines, body.len()) + &body).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{lines}");
        assert!(response.announces_close(), "{lines}");
        client.expect_close().await;
    }
}

#[tokio::test]
async fn each_pipelined_request_has_its_own_credentials() {
    let file = file();
    let server = Server::on_sqlite(&[("AUTH_FILE", &file.path())]).await;
    let body = r#"{"product_id":"sku-1","quantity":1}"#;
    let good = format!("Authorization: Bearer {}\r\n", api_key("writer"));
    let lines = [
        (good.clone(), 201),
        (String::new(), 401),
        ("Authorization: Bearer bad\r\n".to_owned(), 401),
        (good, 201),
    ];
    let mut client = RawClient::connect(&server.api).await;
    let requests = lines
        .iter()
        .map(|(lines, _)| head(lines, body.len()) + body);
    client.send(requests.collect::<String>()).await;
    for (lines, status) in lines {
        assert_eq!(client.response().await.status, status, "{lines}");
    }
    client.expect_usable().await;
}
