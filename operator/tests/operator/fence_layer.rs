//! The fence next to the wire: what it lets through at the door may be late at the connection.

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

/// What came in on a socket that answers each connection with an empty object.
async fn listen() -> (Uri, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let came: Arc<Mutex<Vec<u8>>> = Arc::default();
    let all = came.clone();
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
    (uri.parse().unwrap(), came)
}

/// A write, by a leader that loses the lead while the connection is made, or keeps it.
async fn write(keeps: bool) -> (Result<(), Error>, String) {
    let (uri, came) = listen().await;
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
            if !keeps {
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
    // What is on its way arrives.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let came = String::from_utf8(came.lock().unwrap().clone()).unwrap();
    (result, came)
}

#[tokio::test]
async fn a_write_that_waited_for_its_connection_is_stopped_when_the_lead_is_lost_meanwhile() {
    let (result, came) = write(true).await;
    result.unwrap();
    assert!(
        came.starts_with("PATCH /api/v1/namespaces/n/services/a?"),
        "{came}"
    );
    assert!(came.ends_with('}'), "{came}");

    let (result, came) = write(false).await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Fenced);
    assert_eq!(came, "", "not a byte of it");
}

#[tokio::test]
async fn a_proxy_is_refused_and_not_passed_by() {
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
