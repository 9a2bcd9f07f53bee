//! What every answer has in common.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::server::{Server, problem, slug};

#[tokio::test]
async fn unknown_paths_are_404_and_wrong_methods_405_with_allow() {
    let server = Server::on_sqlite(&[]).await;
    for path in [
        "/nope",
        "/api/v1/order",
        "/api/v1/orders/",
        "/api/v1/orders/1/2",
        "//",
    ] {
        assert_eq!(
            slug(&problem(server.get(path).await).await),
            "not-found",
            "{path}"
        );
    }
    for (method, path, allowed) in [
        ("DELETE", "/api/v1/orders", vec!["GET", "HEAD", "POST"]),
        ("PURGE", "/api/v1/orders", vec!["GET", "HEAD", "POST"]),
        ("PUT", "/healthz", vec!["GET", "HEAD"]),
        ("POST", "/readyz", vec!["GET", "HEAD"]),
    ] {
        let method = method.parse::<reqwest::Method>().unwrap();
        let request = server.client.request(method.clone(), server.url(path));
        let response = request.send().await.unwrap();
        let allow = response.headers()["allow"].to_str().unwrap().to_owned();
        let mut allow: Vec<_> = allow.split(", ").collect();
        allow.sort_unstable();
        assert_eq!(
            slug(&problem(response).await),
            "method-not-allowed",
            "{method} {path}"
        );
        for method in allowed {
            assert!(allow.contains(&method), "{path}: {allow:?}");
        }
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let server = Server::on_sqlite(&[("RUST_LOG", "debug")]).await;
    let answered = async |given: &str| {
        let request = server
            .client
            .get(server.url("/healthz"))
            .header("x-request-id", given);
        let response = request.send().await.unwrap();
        response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(answered("mine-1").await, "mine-1");
    let longest = "x".repeat(128);
    assert_eq!(answered(&longest).await, longest);
    for refused in ["", "has space", &"x".repeat(129)] {
        assert_ne!(answered(refused).await, refused);
    }
    let request = server
        .client
        .get(server.url("/nope"))
        .header("x-request-id", "mine-2");
    let problem = problem(request.send().await.unwrap()).await;
    assert_eq!(problem["request_id"], "mine-2");
    let logged = |id: &str| {
        server
            .logs()
            .iter()
            .any(|line| line["target"] == "order_service::access" && line["request_id"] == id)
    };
    eventually("both are logged", Duration::from_secs(2), async || {
        logged("mine-1") && logged("mine-2")
    })
    .await;
}

#[tokio::test]
async fn what_is_not_http_gets_a_bare_400_and_a_close() {
    let server = Server::on_sqlite(&[]).await;
    let mut stream = TcpStream::connect(server.api.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream
        .write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(server.status("/healthz").await, 200);
}

#[tokio::test]
async fn the_served_document_is_the_printed_one() {
    let server = Server::on_sqlite(&[]).await;
    let served: Value = server.get("/openapi.json").await.json().await.unwrap();
    let out = crate::support::server::run(&["openapi"], &[]);
    assert!(out.status.success());
    assert_eq!(
        served,
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    );
}
