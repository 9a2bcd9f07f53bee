//! A panic while a request is served fails that request alone, and nothing stays locked.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::{order, order_path};
use crate::support::raw_client::{RawClient, Response};
use crate::support::server::Server;

crate::on_both!(
    a_panic_in_a_handler_is_a_500_problem_and_its_connection_serves_the_next_request,
    a_panic_in_a_batch_fails_its_requests_alone,
    a_panic_for_one_order_of_a_batch_fails_that_order_alone,
    a_panic_in_any_use_case_leaves_nothing_locked,
);

/// The names of the places at which the service panics (`src/faults.rs`).
struct Panics(NamedTempFile);

impl Panics {
    fn new() -> Self {
        Self(NamedTempFile::new().unwrap())
    }

    fn at(&self, place: &str) {
        std::fs::write(self.0.path(), place).unwrap();
    }

    fn stop(&self) {
        self.at("");
    }

    /// A server whose permits and connections are used up if a few of them are not released.
    async fn server(&self, database: &Database) -> Server {
        let file = self.0.path().to_str().unwrap();
        let variables = [
            ("TEST_PANICS_FILE", file),
            ("POOL_MAX_SIZE", "2"),
            ("QUEUE_CAPACITY", "32"),
        ];
        Server::start(database, &variables).await
    }
}

/// A request with a body, if there is any.
fn request(method: &str, path: &str, body: Option<&Value>) -> String {
    let body = body.map(Value::to_string).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn send(client: &mut RawClient, method: &str, path: &str, body: Option<&Value>) -> Response {
    client.send(request(method, path, body)).await;
    client.response().await
}

/// Checks that the response is the problem of a panic, which discloses nothing about it.
fn expect_internal_error(response: &Response) {
    assert_eq!(response.status, 500, "{response:?}");
    assert_eq!(response.problem_kind(), "internal");
    assert!(!response.announces_close(), "{response:?}");
    let body = String::from_utf8_lossy(&response.body);
    assert!(!body.contains("panic"), "{body}");
}

/// Waits until every permit, connection and queue is free.
async fn expect_nothing_in_use(server: &Server) {
    let gauges = [
        "http_requests_in_flight",
        "http_response_buffer_bytes",
        "db_pool_connections{state=\"in_use\"}",
        "queue_depth{queue=\"create\"}",
        "queue_depth{queue=\"get\"}",
        "queue_depth{queue=\"first_page\"}",
        "queue_depth{queue=\"other\"}",
    ];
    for gauge in gauges {
        // Tasks in the background use a connection for moments.
        eventually(gauge, Duration::from_secs(10), async || {
            server.metric::<u64>(gauge).await == 0
        })
        .await;
    }
}

async fn panics(server: &Server) -> u64 {
    server.metric("panics_total").await
}

async fn a_panic_in_a_handler_is_a_500_problem_and_its_connection_serves_the_next_request(
    database: Database,
) {
    let panics_at = Panics::new();
    let server = panics_at.server(&database).await;
    let path = order_path(&server.create("first").await);
    let mut client = RawClient::connect(&server.api).await;
    let new = order("new");
    let cases = [
        ("getOrder", "GET", path.as_str(), None, 200),
        ("createOrder", "POST", "/api/v1/orders", Some(&new), 201),
    ];
    for (place, method, path, body, status) in cases {
        // More often than there are permits.
        for _ in 0..40 {
            let before = panics(&server).await;
            panics_at.at(place);
            expect_internal_error(&send(&mut client, method, path, body).await);
            panics_at.stop();
            assert_eq!(panics(&server).await, before + 1, "{place}");
            let response = send(&mut client, method, path, body).await;
            assert_eq!(response.status, status, "{place}");
        }
        let series = format!("method=\"{method}\",path=\"");
        let scrape = server.scrape().await;
        let counted = scrape
            .lines()
            .find(|line| line.contains(&series) && line.contains("status=\"500\""));
        assert!(counted.unwrap().ends_with(" 40"), "{counted:?}");
    }
    expect_nothing_in_use(&server).await;
}

async fn a_panic_in_a_batch_fails_its_requests_alone(database: Database) {
    let panics_at = Panics::new();
    let server = panics_at.server(&database).await;
    let path = order_path(&server.create("first").await);
    let orders = database.count("orders").await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(RawClient::connect(&server.api).await);
    }
    let new = request("POST", "/api/v1/orders", Some(&order("new")));
    for _ in 0..5 {
        let before = panics(&server).await;
        panics_at.at("create_orders");
        for client in &mut clients {
            client.send(&new).await;
        }
        let mut other = RawClient::connect(&server.api).await;
        for path in [path.as_str(), "/api/v1/orders", "/api/v1/events"] {
            assert_eq!(
                send(&mut other, "GET", path, None).await.status,
                200,
                "{path}"
            );
        }
        let change = json!({"metadata": {"a": "b"}});
        let updated = send(&mut other, "PATCH", &path, Some(&change)).await;
        assert_eq!(updated.status, 200, "{updated:?}");
        for client in &mut clients {
            expect_internal_error(&client.response().await);
        }
        panics_at.stop();
        assert!(panics(&server).await > before);
        expect_nothing_in_use(&server).await;
        assert_eq!(database.count("orders").await, orders);
    }
    for client in &mut clients {
        client.send(&new).await;
    }
    for client in &mut clients {
        assert_eq!(client.response().await.status, 201);
    }
    assert_eq!(database.count("orders").await, orders + 8);
}

async fn a_panic_for_one_order_of_a_batch_fails_that_order_alone(database: Database) {
    let panics_at = Panics::new();
    let server = panics_at.server(&database).await;
    panics_at.at("create_orders bad");
    let bad = json!({"product_id": "new", "quantity": 1, "customer_id": "bad"});
    let bad = request("POST", "/api/v1/orders", Some(&bad));
    let good = json!({"product_id": "new", "quantity": 1, "customer_id": "good"});
    let good = request("POST", "/api/v1/orders", Some(&good));
    let mut clients = Vec::new();
    for _ in 0..9 {
        clients.push(RawClient::connect(&server.api).await);
    }
    let mut batches = 0;
    for round in 1..=100 {
        let before = panics(&server).await;
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(if at == 4 { &bad } else { &good }).await;
        }
        for (at, client) in clients.iter_mut().enumerate() {
            let response = client.response().await;
            if at == 4 {
                expect_internal_error(&response);
            } else {
                assert_eq!(response.status, 201, "{response:?}");
            }
        }
        // An order that panics alone panics once, and one of a batch again in each smaller batch.
        batches += u32::from(panics(&server).await > before + 1);
        assert_eq!(database.count("orders").await, 8 * round);
        if batches == 3 {
            break;
        }
    }
    assert_eq!(batches, 3, "batches with the order and others");
    expect_nothing_in_use(&server).await;
    panics_at.stop();
    clients[0].send(&bad).await;
    assert_eq!(clients[0].response().await.status, 201);
}

async fn a_panic_in_any_use_case_leaves_nothing_locked(database: Database) {
    let panics_at = Panics::new();
    let server = panics_at.server(&database).await;
    let path = order_path(&server.create("first").await);
    let mut client = RawClient::connect(&server.api).await;
    let events = format!("{path}/events");
    let unknown = "/api/v1/erasures/0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
    let (new, change) = (order("new"), json!({"metadata": {"a": "b"}}));
    let cases = [
        ("create_orders", "POST", "/api/v1/orders", Some(&new), 201),
        ("get_orders", "GET", path.as_str(), None, 200),
        ("list_orders", "GET", "/api/v1/orders", None, 200),
        (
            "list_orders",
            "GET",
            "/api/v1/orders?status=pending",
            None,
            200,
        ),
        ("update_order", "PATCH", path.as_str(), Some(&change), 200),
        ("read_feed", "GET", "/api/v1/events", None, 200),
        ("read_order_events", "GET", events.as_str(), None, 200),
        (
            "request_erasure",
            "DELETE",
            "/api/v1/customers/nobody",
            None,
            202,
        ),
        ("get_erasure", "GET", unknown, None, 404),
    ];
    for (place, method, path, body, status) in cases {
        let before = panics(&server).await;
        panics_at.at(place);
        // More often than there are permits, connections, and pages in memory.
        for _ in 0..40 {
            let response = send(&mut client, method, path, body).await;
            assert_eq!(response.status, 500, "{place}: {response:?}");
            expect_internal_error(&response);
        }
        panics_at.stop();
        assert!(panics(&server).await >= before + 40, "{place}");
        let response = send(&mut client, method, path, body).await;
        assert_eq!(response.status, status, "{place}: {response:?}");
        expect_nothing_in_use(&server).await;
    }
    assert_eq!(server.status("/readyz").await, 200);
}
