//! A flood of one principal and the latency of another. It is a binary of its own, because no other test may run at the
//! same time.
//!
//! The machine of the test is shared and has few processors, so what is measured must not be the processor: the
//! database is some milliseconds away, and clients of the flood that are rejected wait before they try again. What
//! remains is the wait for other requests, which is what the shares are for.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::database::Database;
use crate::support::orders::{order, order_path};
use crate::support::principals::{credential, with_principals};
use crate::support::raw_client::RawClient;
use crate::support::server::Server;
use crate::support::slow_link::SlowLink;

const CONNECTIONS: usize = 500;
/// The pause of a client of the flood after it was rejected: that of `Retry-After`.
const REJECTED_PAUSE: Duration = Duration::from_secs(1);
/// The distance to the database.
const DELAY: Duration = Duration::from_millis(100);
/// The modest rate: one request in this time.
const INTERVAL: Duration = Duration::from_millis(30);
const REQUESTS: usize = 200;

fn post(principal: &str, method: &str, path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        credential(principal),
        body.len()
    )
}

fn get(principal: &str, path: &str) -> String {
    let authorization = credential(principal);
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n")
}

/// One request of each kind.
fn requests(principal: &str, order_path: &str) -> Vec<String> {
    vec![
        post(principal, "POST", "/api/v1/orders", &order("sku-1")),
        get(principal, order_path),
        get(principal, "/api/v1/orders?status=pending&limit=10"),
        post(
            principal,
            "PATCH",
            order_path,
            &serde_json::json!({"metadata": {"a": "b"}}),
        ),
        get(principal, "/api/v1/events?limit=10"),
    ]
}

struct Flood {
    stopped: Arc<AtomicBool>,
    clients: JoinSet<()>,
    served: Arc<AtomicUsize>,
    rejected: Arc<AtomicUsize>,
}

impl Flood {
    async fn start(server: &Server, requests: Vec<String>) -> Self {
        let mut flood = Self {
            stopped: Arc::default(),
            clients: JoinSet::new(),
            served: Arc::default(),
            rejected: Arc::default(),
        };
        let requests: Arc<[String]> = requests.into();
        for number in 0..CONNECTIONS {
            let mut client = RawClient::connect(&server.api).await;
            let (stopped, requests) = (Arc::clone(&flood.stopped), Arc::clone(&requests));
            let (served, rejected) = (Arc::clone(&flood.served), Arc::clone(&flood.rejected));
            flood.clients.spawn(async move {
                for request in requests.iter().cycle().skip(number % requests.len()) {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    client.send(request).await;
                    match client.response().await.status {
                        200 | 201 => _ = served.fetch_add(1, Ordering::Relaxed),
                        429 | 503 => {
                            rejected.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(REJECTED_PAUSE).await;
                        }
                        other => panic!("{other}"),
                    }
                }
            });
        }
        flood
    }

    async fn stop(mut self) -> (usize, usize) {
        self.stopped.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (count(&self.served), count(&self.rejected))
    }
}

/// What a client at a modest rate sees.
#[derive(Debug)]
struct Seen {
    p99: Duration,
    /// Requests that got neither 200 nor 201.
    failed: usize,
}

/// Sends requests at the modest rate, whether or not earlier ones have their responses.
async fn observe(server: &Server, requests: &[String]) -> Seen {
    let mut idle = Vec::new();
    let mut sent = JoinSet::new();
    let (mut times, mut failed) = (Vec::new(), 0);
    let mut timer = tokio::time::interval(INTERVAL);
    for request in requests.iter().cycle().take(REQUESTS) {
        timer.tick().await;
        while let Some(done) = sent.try_join_next() {
            let (client, took, status): (_, Duration, u16) = done.unwrap();
            idle.push(client);
            times.push(took);
            failed += usize::from(![200, 201].contains(&status));
        }
        let client = match idle.pop() {
            Some(client) => client,
            None => RawClient::connect(&server.api).await,
        };
        let request = request.clone();
        sent.spawn(async move {
            let (mut client, start) = (client, Instant::now());
            client.send(&request).await;
            let status = client.response().await.status;
            (client, start.elapsed(), status)
        });
    }
    while let Some(done) = sent.join_next().await {
        let (_, took, status) = done.unwrap();
        times.push(took);
        failed += usize::from(![200, 201].contains(&status));
    }
    times.sort();
    assert_eq!(times.len(), REQUESTS);
    Seen {
        p99: times[REQUESTS * 99 / 100 - 1],
        failed,
    }
}

/// Observes `observed` without and with a flood of `flooding`.
async fn quiet_and_flooded(server: &Server, observed: &str, flooding: &str) -> (Seen, Seen) {
    let path = order_path(&server.create("sku-1").await);
    let modest = requests(observed, &path);
    let quiet = observe(server, &modest).await;
    let path = order_path(&server.create("sku-1").await);
    let flood = Flood::start(server, requests(flooding, &path)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let flooded = observe(server, &modest).await;
    let (served, rejected) = flood.stop().await;
    eprintln!(
        "{observed} during a flood of {flooding}: {quiet:?} {flooded:?}, served {served}, rejected {rejected}"
    );
    assert!(served > 0 && rejected > 0, "{served} {rejected}");
    (quiet, flooded)
}

const CAPACITY: (&str, &str) = ("QUEUE_CAPACITY", "256");
/// The rounds, of which one must meet the limit: other processes use the machine, too.
const ROUNDS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_principal_does_not_fail_or_delay_the_requests_of_another() {
    let database = Database::postgres().await;
    let link = SlowLink::in_front_of(&database, DELAY).await;
    let (server, _file) =
        with_principals(&database, &[("DATABASE_URL", link.url()), CAPACITY]).await;
    // The first requests open connections.
    observe(
        &server,
        &requests("a", &order_path(&server.create("sku-1").await)),
    )
    .await;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (quiet, flooded) = quiet_and_flooded(&server, "a", "b").await;
        assert_eq!((quiet.failed, flooded.failed), (0, 0));
        ratios.push(flooded.p99.as_secs_f64() / quiet.p99.as_secs_f64());
        if ratios.iter().any(|ratio| *ratio <= 3.0) {
            break;
        }
    }
    assert!(ratios.iter().any(|ratio| *ratio <= 3.0), "{ratios:?}");
    // The control: as one principal, both have one share and one place in each queue.
    let (quiet, flooded) = quiet_and_flooded(&server, "c", "c").await;
    assert_eq!(quiet.failed, 0);
    assert!(
        flooded.failed > 0 && flooded.p99 > 3 * quiet.p99,
        "{quiet:?} {flooded:?}"
    );
}
