//! The fence is checked again when the connection is established, which may take long after the first check.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use kube::Config;
use order_operator::cluster::connect::connect_with;
use order_operator::cluster::fence_layer::FenceLayer;
use order_operator::cluster::watch_activity::WatchActivity;
use order_operator::cluster::{Cluster, Kind};
use order_operator::leader::{Fence, Moment};
use order_operator::metrics::Metrics;
use order_operator::reconcile::error::{Error, ErrorClass};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tower::Service as _;

/// A server that responds to each request with an object, and the bytes that it received.
async fn listen() -> (Uri, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let received: Arc<Mutex<Vec<u8>>> = Arc::default();
    let all = received.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let all = all.clone();
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    all.lock().unwrap().extend_from_slice(&piece[..length]);
                    let body = json!({"metadata": {"name": "a"}}).to_string();
                    let length = body.len();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    let _ = stream.write_all((head + &body).as_bytes()).await;
                }
            });
        }
    });
    (uri.parse().unwrap(), received)
}

/// A write by a leader that loses leadership, or does not, while the connection is established.
async fn write(stays_leader: bool) -> (Result<(), Error>, String) {
    let (uri, received) = listen().await;
    let fence = Fence::default();
    fence.allow(Moment::now(), Duration::from_secs(60));
    let guard = FenceLayer {
        fence: fence.clone(),
        watches: WatchActivity::default(),
        metrics: Arc::new(Metrics::new().unwrap()),
    };
    let slow = tower::service_fn(move |uri: Uri| {
        let fence = fence.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if !stays_leader {
                fence.revoke();
            }
            HttpConnector::new().call(uri).await
        }
    });
    let client = connect_with(Config::new(uri), slow, &guard).unwrap();
    let object = json!({"metadata": {"name": "a", "namespace": "n"}});
    let result = Cluster::new(client)
        .apply(Kind::Service, &object, false)
        .await;
    let result = result.map(|_| ()).map_err(|source| Error::Api {
        what: String::new(),
        source,
    });
    // Wait for bytes in transit.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let received = String::from_utf8(received.lock().unwrap().clone()).unwrap();
    (result, received)
}

#[tokio::test]
async fn a_write_is_not_sent_when_leadership_is_lost_while_connecting() {
    let (result, received) = write(true).await;
    result.unwrap();
    assert!(
        received.starts_with("PATCH /api/v1/namespaces/n/services/a?"),
        "{received}"
    );
    assert!(received.ends_with('}'), "{received}");

    let (result, received) = write(false).await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Fenced);
    assert_eq!(received, "", "no byte was sent");
}

#[tokio::test]
async fn a_configured_proxy_is_rejected_and_not_bypassed() {
    let guard = FenceLayer {
        fence: Fence::default(),
        watches: WatchActivity::default(),
        metrics: Arc::new(Metrics::new().unwrap()),
    };
    let mut config = Config::new(Uri::from_static("http://127.0.0.1:1"));
    assert!(connect_with(config.clone(), HttpConnector::new(), &guard).is_ok());
    config.proxy_url = Some(Uri::from_static("http://127.0.0.1:2"));
    assert!(connect_with(config, HttpConnector::new(), &guard).is_err());
}
