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
            slug(&problem(server.get(path).await)),
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
            slug(&problem(response)),
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
    let problem = problem(request.send().await.unwrap());
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
async fn the_served_document_is_the_printed_and_the_committed_one() {
    let server = Server::on_sqlite(&[]).await;
    let served: Value = server.get("/openapi.json").await.json();
    let out = crate::support::server::run(&["openapi"], &[]);
    assert!(out.status.success());
    let printed = String::from_utf8(out.stdout).unwrap();
    assert_eq!(served, serde_json::from_str::<Value>(&printed).unwrap());
    let committed = include_str!("../../openapi.json");
    assert_eq!(printed, committed, "run: make openapi");
}

#[tokio::test]
async fn the_root_names_the_service_and_its_links() {
    let server = Server::on_sqlite(&[]).await;
    let root: Value = server.get("/").await.json();
    assert_eq!(root["service"], "order-service");
    assert_eq!(root["version"], env!("CARGO_PKG_VERSION"));
    for link in root["links"].as_object().unwrap().values() {
        assert_eq!(server.status(link.as_str().unwrap()).await, 200, "{link}");
    }
}

#[tokio::test]
async fn the_files_of_the_reference_come_packed_and_plain() {
    let server = Server::on_sqlite(&[]).await;
    let plain = server.get("/docs/swagger-ui.css").await;
    assert_eq!(plain.header("content-type"), "text/css");
    assert!(plain.text().contains(".swagger-ui"));
    let packed = server.client.get(server.url("/docs/swagger-ui.css"));
    let packed = packed
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.text().len() < plain.text().len());
    for missing in ["nope.js", "..%2f..%2fetc%2fpasswd", "%00"] {
        let answer = server.get(&format!("/docs/{missing}")).await;
        assert_eq!(slug(&problem(answer)), "not-found", "{missing}");
    }
}

#[tokio::test]
async fn a_trace_reaches_the_log_when_it_is_valid() {
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
        let logs = server.logs();
        logs.into_iter()
            .find(|l| l["target"] == "order_service::access" && l["request_id"] == id)
            .map(|line| line["traceparent"].clone())
    };
    eventually("both are logged", Duration::from_secs(2), async || {
        trace("with") == Some(good.into()) && trace("without") == Some(Value::Null)
    })
    .await;
}
