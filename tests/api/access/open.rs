//! A service on a loopback address without settings: open to this host, and to no page in its browser.

use crate::support::raw_client::RawClient;
use crate::support::server::Server;

async fn status(server: &Server, request: &str) -> u16 {
    let mut client = RawClient::connect(&server.api).await;
    client.send(request).await;
    let response = client.response().await;
    if response.status >= 400 {
        assert_eq!(response.header("www-authenticate"), None, "{response:?}");
    }
    response.status
}

async fn with_host(server: &Server, path: &str, host: &str) -> u16 {
    status(
        server,
        &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn only_the_names_of_this_host_are_served() {
    let server = Server::on_sqlite(&[]).await;
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:0",
    ] {
        assert_eq!(
            with_host(&server, "/api/v1/orders", host).await,
            200,
            "{host}"
        );
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8080",
        "127.0.0.1.nip.io",
        "127.0.0.2",
        "0.0.0.0",
        "[::]",
        "localhost@evil.example",
        "",
    ] {
        for path in ["/api/v1/orders", "/", "/docs", "/openapi.json", "/nope"] {
            assert_eq!(with_host(&server, path, host).await, 403, "{host} {path}");
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(with_host(&server, path, host).await, 200, "{host} {path}");
        }
    }
}

#[tokio::test]
async fn the_target_and_every_host_header_must_name_this_host() {
    let server = Server::on_sqlite(&[]).await;
    for (request, expected) in [
        (
            "GET http://localhost/api/v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n",
            200,
        ),
        (
            "GET http://evil.example/api/v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n",
            403,
        ),
        (
            "GET http://localhost/api/v1/orders HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            403,
        ),
        (
            "GET /api/v1/orders HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n",
            200,
        ),
        ("GET /api/v1/orders HTTP/1.0\r\n\r\n", 403),
        ("GET http://[::1]/api/v1/orders HTTP/1.0\r\n\r\n", 200),
    ] {
        assert_eq!(status(&server, request).await, expected, "{request}");
    }
}

#[tokio::test]
async fn credentials_are_ignored() {
    let server = Server::on_sqlite(&[]).await;
    for headers in [
        "Authorization: Bearer bad\r\n",
        "Authorization: Basic YTpi\r\n",
        "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    ] {
        let request = format!("GET /api/v1/orders HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        assert_eq!(status(&server, &request).await, 200, "{headers}");
    }
}

#[tokio::test]
async fn with_anonymous_scopes_every_host_is_served() {
    let server = Server::on_sqlite(&[("AUTH_ANONYMOUS", "all")]).await;
    assert_eq!(
        with_host(&server, "/api/v1/orders", "orders.example").await,
        200
    );
    let request = "GET /api/v1/orders HTTP/1.0\r\n\r\n";
    assert_eq!(status(&server, request).await, 200);
}
