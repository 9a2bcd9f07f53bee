//! A response that comes before the request is complete is seen by its client (RFC 9112, section 9.6),
//! whatever client that is, and a wish for an upgrade costs nobody the response.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::raw::Raw;
use crate::support::server::Server;

const ORDER: &str = r#"{"product_id":"sku-1","quantity":1}"#;

fn head(target: &str, kind: &str, length: usize) -> String {
    format!(
        "{target} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Requests that are refused before their body is read, or half-way, and the status.
const EARLY: [(&str, &str, u16); 6] = [
    ("POST /nope", "application/json", 404),
    ("POST /healthz", "application/json", 405),
    ("DELETE /api/v1/orders", "application/json", 405),
    ("POST /api/v1/orders", "text/plain", 415),
    ("POST /api/v1/orders?x=y", "text/plain", 415),
    ("GET /api/v1/orders?x=y", "application/json", 422),
];

#[tokio::test]
async fn a_small_rest_of_a_request_is_put_out_of_the_way() {
    let server = Server::on_sqlite(&[]).await;
    for (target, kind, status) in EARLY {
        let body = "x".repeat(100_000);
        // Nothing of the body before the response, a part of it, and the whole.
        for at_once in [0, 1, 50_000, 100_000] {
            let mut client = Raw::to(&server.api).await;
            let (now, later) = body.split_at(at_once);
            client
                .send(format!("{}{now}", head(target, kind, body.len())))
                .await;
            let response = client.response().await;
            assert_eq!(response.status, status, "{target}");
            assert!(!response.closes(), "{target} {at_once}");
            client.send(later).await;
            client.is_usable().await;
            client.is_usable().await;
        }
    }
    // Too large by a little.
    let mut client = Raw::to(&server.api).await;
    let body = "x".repeat(70_000);
    let request = head("POST /api/v1/orders", "application/json", body.len());
    client.send(request + &body).await;
    assert_eq!(client.response().await.problem(), "payload-too-large");
    client.is_usable().await;
}

#[tokio::test]
async fn a_chunked_rest_is_put_out_of_the_way() {
    let server = Server::on_sqlite(&[]).await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for (target, kind, status) in EARLY {
        let mut client = Raw::to(&server.api).await;
        let head = head(target, kind, 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
        client.send(format!("{head}{chunk}")).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{target}");
        assert!(!response.closes(), "{target}");
        client.send(format!("{}0\r\n\r\n", chunk.repeat(20))).await;
        client.is_usable().await;
    }
    let mut client = Raw::to(&server.api).await;
    let head = head("POST /api/v1/orders", "application/json", 0)
        .replace("Content-Length: 0", "Transfer-Encoding: chunked");
    client.send(format!("{head}{}", chunk.repeat(8))).await;
    assert_eq!(client.response().await.problem(), "payload-too-large");
    client.send("0\r\n\r\n").await;
    client.is_usable().await;
}

#[tokio::test]
async fn a_large_rest_is_read_so_that_the_response_arrives() {
    const LENGTH: usize = 12 * 1024 * 1024;
    let server = Server::on_sqlite(&[]).await;
    let chunked = "Transfer-Encoding: chunked";
    for (target, kind, status) in
        EARLY
            .into_iter()
            .chain([("POST /api/v1/orders", "application/json", 413)])
    {
        for chunks in [false, true] {
            let mut client = Raw::to(&server.api).await;
            let mut request = head(target, kind, LENGTH);
            let mut part = "x".repeat(LENGTH / 12);
            if chunks {
                request = request.replace(&format!("Content-Length: {LENGTH}"), chunked);
                part = format!("{:x}\r\n{part}\r\n", part.len());
            }
            client.send(request).await;
            for _ in 0..12 {
                // A client that sees the response only after it has sent everything.
                client.send(&part).await;
            }
            let response = client.response().await;
            assert_eq!(response.status, status, "{target}");
            if chunks {
                client.send("0\r\n\r\n").await;
                client.is_usable().await;
            } else {
                assert!(response.closes(), "{target}");
                client.stream.shutdown().await.unwrap();
                client.ends().await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_cut_off() {
    let server = Server::on_sqlite(&[]).await;
    for (what, kind) in [
        ("Content-Length: 99999999999", "text/plain"),
        ("Transfer-Encoding: chunked", "application/json"),
    ] {
        // Fast, it ends after some 16 MiB; slowly, after 5 s.
        for (pause, least) in [(Duration::ZERO, 16 << 20), (Duration::from_millis(50), 0)] {
            let mut client = Raw::to(&server.api).await;
            let head = head("POST /api/v1/orders", kind, 0).replace("Content-Length: 0", what);
            client.send(head).await;
            let body = if what.starts_with('T') {
                "ffff\r\n"
            } else {
                ""
            };
            let part = format!(
                "{body}{}{}",
                "x".repeat(0xffff),
                if body.is_empty() { "" } else { "\r\n" }
            );
            let start = Instant::now();
            let mut sent = 0;
            let (mut reader, mut writer) = client.stream.split();
            let mut received = Vec::new();
            let sending = async {
                while writer.write_all(part.as_bytes()).await.is_ok() {
                    sent += part.len();
                    tokio::time::sleep(pause).await;
                }
            };
            let reading = async {
                let _ = reader.read_to_end(&mut received).await;
            };
            tokio::time::timeout(Duration::from_secs(12), async {
                tokio::join!(sending, reading)
            })
            .await
            .expect("it is cut off");
            let text = String::from_utf8_lossy(&received);
            assert!(text.starts_with("HTTP/1.1 4"), "{text}");
            assert!(sent >= least && sent < 64 << 20, "{what} {sent}");
            let slow = pause > Duration::ZERO;
            assert!(
                !slow || start.elapsed() > Duration::from_millis(4_500),
                "{what}"
            );
        }
    }
    assert_eq!(server.status("/healthz").await, 200);
}

#[tokio::test]
async fn a_wish_for_an_upgrade_is_ignored_and_the_connection_stays() {
    let server = Server::on_sqlite(&[]).await;
    let mut client = Raw::to(&server.api).await;
    for upgrade in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
        "connection: keep-alive, upgrade\r\nUPGRADE: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
    ] {
        for _ in 0..3 {
            let request = format!(
                "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 {upgrade}Content-Length: {}\r\n\r\n{ORDER}",
                ORDER.len()
            );
            client.send(request).await;
            let response = client.response().await;
            assert_eq!(response.status, 201, "{upgrade}");
            assert_eq!(response.header("connection"), None, "{upgrade}");
            assert_eq!(response.header("upgrade"), None);
            client
                .send(format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n"))
                .await;
            assert_eq!(client.response().await.header("connection"), None);
            // In pieces.
            for byte in format!("GET /nope HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n").bytes() {
                client.send([byte]).await;
            }
            assert_eq!(client.response().await.status, 404);
        }
    }
}

/// Runs a program that says on standard output what it saw; `None` where there is no such program.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let there = Command::new(program).arg("--version").output();
    if there.is_err() {
        eprintln!("there is no {program}, so nothing is tested");
        return None;
    }
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    Some(text)
}

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    path.to_str().unwrap().to_owned()
}

/// What each client prints: a status for each kind of request, in order.
const SEEN: &str = "201 413 413 415 422 404 201";

#[tokio::test]
async fn the_client_of_java_sees_every_response() {
    let server = Server::on_sqlite(&[]).await;
    let url = server.api.clone();
    let seen = tokio::task::spawn_blocking(move || run("java", &[&script("Client.java"), &url]));
    if let Some(seen) = seen.await.unwrap() {
        assert_eq!(seen.trim(), SEEN);
    }
}

#[tokio::test]
async fn the_client_of_node_sees_every_response() {
    let server = Server::on_sqlite(&[]).await;
    let url = server.api.clone();
    let seen = tokio::task::spawn_blocking(move || run("node", &[&script("client.mjs"), &url]));
    if let Some(seen) = seen.await.unwrap() {
        assert_eq!(seen.trim(), SEEN);
    }
}

/// nginx, ended when dropped.
struct Nginx(std::process::Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn nginx_passes_every_response_on() {
    let server = Server::on_sqlite(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let path = directory.path().display();
    let configuration = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr;
         events {{}}
         http {{
           access_log off; client_max_body_size 0; client_body_temp_path {path}/body;
           proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u;
           scgi_temp_path {path}/s;
           upstream service {{ server {}; keepalive 4; }}
           server {{
             listen {address};
             location / {{ proxy_pass http://service; proxy_http_version 1.1;
               proxy_set_header Connection ''; }}
             location /unbuffered/ {{ proxy_pass http://service/; proxy_http_version 1.1;
               proxy_request_buffering off; proxy_set_header Connection ''; }}
           }}
         }}",
        server.api.strip_prefix("http://").unwrap()
    );
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&file)
        .arg("-p")
        .arg(directory.path())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(child) = child else {
        eprintln!("there is no nginx, so nothing is tested");
        return;
    };
    let _nginx = Nginx(child);
    // A connection for each request: nginx ends them after an early response, and says so late.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0);
    let client = client.build().unwrap();
    for _ in 0..100 {
        if client
            .get(format!("http://{address}/healthz"))
            .send()
            .await
            .is_ok()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for location in ["", "/unbuffered"] {
        for (path, kind, size, status) in [
            ("/api/v1/orders", "application/json", 70_000, 413),
            ("/api/v1/orders", "application/json", 300_000, 413),
            ("/api/v1/orders", "application/json", 8 << 20, 413),
            ("/api/v1/orders", "text/plain", 8 << 20, 415),
            ("/nope", "text/plain", 8 << 20, 404),
            ("/api/v1/orders", "application/json", 2, 400),
        ] {
            for round in 0..5 {
                let request = client.post(format!("http://{address}{location}{path}"));
                let request = request.header("content-type", kind).body(vec![b'x'; size]);
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), status, "{location} {size} {round}");
            }
        }
    }
}

#[tokio::test]
async fn the_rest_of_a_body_that_never_comes_ends_the_connection() {
    let server = Server::on_sqlite(&[]).await;
    let mut client = Raw::to(&server.api).await;
    client
        .send(head("GET /healthz", "application/json", 100))
        .await;
    let start = Instant::now();
    assert_eq!(client.response().await.status, 200);
    client.ends().await;
    let took = start.elapsed();
    assert!(
        took > Duration::from_secs(4) && took < Duration::from_secs(8),
        "{took:?}"
    );
}
