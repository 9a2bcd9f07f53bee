//! What every response has in common, and the pages about the service itself.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::binary::run;
use crate::support::eventually;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

#[tokio::test]
async fn unknown_paths_are_404_and_unknown_methods_405_with_allow() {
    let server = Server::on_sqlite(&[]).await;
    for path in [
        "/nope",
        "/api/v1/order",
        "/api/v1/orders/",
        "/api/v1/orders/1/2",
        "//",
    ] {
        assert_eq!(
            problem_kind(&problem(server.get(path).await)),
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
            problem_kind(&problem(response)),
            "method-not-allowed",
            "{method} {path}"
        );
        for method in allowed {
            assert!(allow.contains(&method), "{path}: {allow:?}");
        }
    }
}

#[tokio::test]
async fn a_valid_request_id_is_used_and_an_invalid_one_replaced() {
    let server = Server::on_sqlite(&[("RUST_LOG", "debug")]).await;
    let response_id = async |given: &str| {
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
    assert_eq!(response_id("mine-1").await, "mine-1");
    let longest = "x".repeat(128);
    assert_eq!(response_id(&longest).await, longest);
    for rejected in ["", "has space", &"x".repeat(129)] {
        assert_ne!(response_id(rejected).await, rejected);
    }
    let request = server
        .client
        .get(server.url("/nope"))
        .header("x-request-id", "mine-2");
    let problem = problem(request.send().await.unwrap());
    assert_eq!(problem["request_id"], "mine-2");
    let logged = |id: &str| {
        let log = server.access_log();
        log.iter().any(|line| line["request_id"] == id)
    };
    eventually("both are logged", Duration::from_secs(2), async || {
        logged("mine-1") && logged("mine-2")
    })
    .await;
}

#[tokio::test]
async fn bytes_that_are_not_http_get_400_and_a_closed_connection() {
    let server = Server::on_sqlite(&[]).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream
        .write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        .await
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    assert_eq!(server.status("/healthz").await, 200);
}

#[tokio::test]
async fn the_served_the_printed_and_the_committed_openapi_document_are_equal() {
    let server = Server::on_sqlite(&[]).await;
    let served: Value = server.get("/openapi.json").await.json();
    let out = run(&["openapi"], &[]);
    assert!(out.status.success());
    let printed = String::from_utf8(out.stdout).unwrap();
    assert_eq!(served, serde_json::from_str::<Value>(&printed).unwrap());
    let committed = include_str!("../../openapi.json");
    assert_eq!(printed, committed, "run: make openapi");
}

#[tokio::test]
async fn the_root_names_the_service_and_links_to_existing_pages() {
    let server = Server::on_sqlite(&[]).await;
    let root: Value = server.get("/").await.json();
    assert_eq!(root["service"], "order-service");
    assert_eq!(root["version"], env!("CARGO_PKG_VERSION"));
    for link in root["links"].as_object().unwrap().values() {
        assert_eq!(server.status(link.as_str().unwrap()).await, 200, "{link}");
    }
}

#[tokio::test]
async fn the_files_of_the_reference_page_are_sent_compressed_and_plain() {
    let server = Server::on_sqlite(&[]).await;
    let plain = server.get("/docs/swagger-ui.css").await;
    assert_eq!(plain.header("content-type"), "text/css");
    assert!(plain.text().contains(".swagger-ui"));
    let compressed = server.client.get(server.url("/docs/swagger-ui.css"));
    let compressed = compressed
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(compressed.header("content-encoding"), "gzip");
    assert!(compressed.text().len() < plain.text().len());
    for missing in ["nope.js", "..%2f..%2fetc%2fpasswd", "%00"] {
        let response = server.get(&format!("/docs/{missing}")).await;
        assert_eq!(problem_kind(&problem(response)), "not-found", "{missing}");
    }
}

#[tokio::test]
async fn a_valid_trace_context_is_logged() {
    let server = Server::on_sqlite(&[("RUST_LOG", "debug")]).await;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (id, trace) in [("with", good), ("without", "00-not-a-trace-01")] {
        let request = server
            .client
            .get(server.url("/healthz"))
            .header("x-request-id", id);
        request.header("traceparent", trace).send().await.unwrap();
    }
    let trace = |id: &str| {
        let log = server.access_log();
        let line = log.iter().find(|line| line["request_id"] == id);
        line.map(|line| line["traceparent"].clone())
    };
    eventually("both are logged", Duration::from_secs(2), async || {
        trace("with") == Some(good.into()) && trace("without") == Some(Value::Null)
    })
    .await;
}
