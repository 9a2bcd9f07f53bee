use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::{RequestBudget, ResponseBudget};
use crate::telemetry::Metrics;

async fn panics_at_once() -> HttpResponse {
    panic!("planted");
}

/// A server with two handlers that panic: one in its future, and one before it returns a future.
fn server() -> (std::net::SocketAddr, actix_web::dev::ServerHandle) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let state = HttpState {
        resources: &[],
        request_timeout: Duration::from_secs(10),
        max_body_bytes: 1,
        rates: None,
        responses: ResponseBudget::new(1, Arc::clone(&metrics)),
        bodies: RequestBudget::default(),
        drain: CancellationToken::new(),
    };
    let server = HttpServer::new(move || {
        App::new()
            .route("/panics", web::get().to(panics_at_once))
            .route("/fine", web::get().to(HttpResponse::Ok))
            .wrap(Edge::new(
                state.clone(),
                Recorder::new(Arc::clone(&metrics)),
                None,
            ))
    })
    .workers(1)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    (address, handle)
}

#[actix_rt::test]
async fn a_panic_becomes_a_500_problem_and_the_connection_stays_open() {
    let (address, handle) = server();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut buffer = vec![0; 4096];
    for (path, status, text) in [
        ("/panics", "500", "urn:problem:order-service:internal"),
        ("/fine", "200", ""),
        ("/panics", "500", "\"request_id\":\"mine\""),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        let response = String::from_utf8_lossy(&buffer[..read]);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{response}"
        );
        assert!(response.contains("x-request-id: mine"), "{response}");
        assert!(response.contains(text), "{response}");
        assert!(!response.contains("planted"), "{response}");
    }
    handle.stop(false).await;
}
