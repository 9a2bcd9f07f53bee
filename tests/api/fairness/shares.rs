//! What one principal may hold, and what is rejected first as the service fills up.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::super::response_budget::{
    buffered_bytes, create_large_orders, request_without_reading_as,
};
use crate::support::client::{Request, Response};
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::principals::{credential, get_as, with_principals};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    a_principal_opens_at_most_its_share_of_the_streams,
    slow_readers_of_one_principal_do_not_stop_another,
);

/// Requests that hold their places until the tables are unlocked.
struct Held<'a> {
    server: &'a Server,
    waiting: Vec<JoinHandle<reqwest::Result<Response>>>,
}

impl<'a> Held<'a> {
    fn new(server: &'a Server) -> Self {
        Self {
            server,
            waiting: Vec::new(),
        }
    }

    async fn used(&self) -> usize {
        let scrape = self.server.scrape().await;
        let depths = scrape
            .lines()
            .filter(|line| line.starts_with("queue_depth{"));
        depths
            .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
            .sum()
    }

    fn request(&self, principal: &str, kind: &str) -> Request {
        let client = &self.server.client;
        let orders = self.server.url("/api/v1/orders");
        let request = match kind {
            "create" => client.post(orders).json(&order("sku-1")),
            "get" => client.get(format!("{orders}/{}", Uuid::now_v7())),
            "first page" => client.get(orders),
            "list" => client.get(format!("{orders}?status=pending")),
            "events" => client.get(format!("{orders}/{}/events", Uuid::now_v7())),
            _ => panic!("{kind}"),
        };
        request.header("authorization", credential(principal))
    }

    /// Sends a request that is admitted and waits for the database.
    async fn admitted(&mut self, principal: &str, kind: &str) {
        let used = self.used().await;
        let request = self.request(principal, kind).send();
        self.waiting.push(tokio::spawn(request));
        let what = format!(
            "the request of {principal} ({kind}) is admitted as number {}",
            used + 1
        );
        eventually(&what, Duration::from_secs(5), async || {
            self.used().await == used + 1
        })
        .await;
    }

    /// Sends a request that is rejected at once with this problem.
    async fn rejected(&self, principal: &str, kind: &str, expected: &str) {
        let response = self.request(principal, kind).send();
        let response = tokio::time::timeout(Duration::from_secs(2), response).await;
        let response = response.expect("a response at once").unwrap();
        assert_eq!(response.header("retry-after"), "1");
        let problem = problem(response);
        assert_eq!(problem_kind(&problem), expected, "{principal}: {kind}");
    }

    /// Every request that was admitted gets its response.
    async fn finish(self) {
        for waiting in self.waiting {
            let status = waiting.await.unwrap().unwrap().status();
            assert!([200, 201, 404].contains(&status), "{status}");
        }
    }
}

const LONG: [(&str, &str); 2] = [("REQUEST_TIMEOUT", "60s"), ("STATEMENT_TIMEOUT", "60s")];

#[tokio::test]
async fn a_principal_holds_at_most_its_share_and_lists_are_rejected_before_gets_before_writes() {
    let database = Database::postgres().await;
    let mut variables = LONG.to_vec();
    variables.push(("QUEUE_CAPACITY", "20"));
    let (server, _file) = with_principals(&database, &variables).await;
    let lock = database
        .begin("LOCK TABLE orders, events IN ACCESS EXCLUSIVE MODE")
        .await;
    let mut held = Held::new(&server);
    // Alone, a principal may hold half.
    for _ in 0..10 {
        held.admitted("a", "create").await;
    }
    held.rejected("a", "create", "rate-limited").await;
    held.rejected("a", "list", "rate-limited").await;
    // Half is in use. Lists of another one are admitted until it holds half of its own share of 6.
    for _ in 0..3 {
        held.admitted("j", "list").await;
    }
    for kind in ["list", "first page", "events"] {
        held.rejected("j", kind, "overloaded").await;
    }
    held.admitted("j", "get").await;
    // Three principals: each may hold a quarter. Gets are rejected from three quarters of it on.
    for _ in 0..3 {
        held.admitted("b", "create").await;
    }
    held.rejected("j", "get", "overloaded").await;
    held.rejected("j", "list", "overloaded").await;
    let stream = EventStream::request_as(&server, "j").await;
    assert_eq!(stream.status(), 503, "like a list");
    held.admitted("b", "get").await;
    held.admitted("j", "create").await;
    held.rejected("j", "create", "rate-limited").await;
    // One that holds little is admitted until everything is in use.
    held.admitted("c", "list").await;
    held.rejected("a", "create", "rate-limited").await;
    // Everything is in use.
    held.rejected("d", "create", "overloaded").await;
    // Probes are never rejected. The lock on the table makes the database unavailable.
    assert_eq!(server.status("/healthz").await, 200);
    let ready = problem(server.get("/readyz").await);
    assert_eq!(ready["reason"], "database_unavailable");
    assert_eq!(server.metric::<u64>("rate_limited_total").await, 4);
    lock.batch_execute("COMMIT").await.unwrap();
    held.finish().await;
    assert_eq!(database.count("orders").await, 10 + 3 + 1);
}

/// Requests without credentials are those of one principal.
#[tokio::test]
async fn anonymous_requests_share_one_share() {
    let database = Database::postgres().await;
    let mut variables = LONG.to_vec();
    variables.push(("QUEUE_CAPACITY", "6"));
    let (server, _file) = with_principals(&database, &variables).await;
    let lock = database
        .begin("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let request = server.client.post(server.url("/api/v1/orders"));
        waiting.push(tokio::spawn(request.json(&order("sku-1")).send()));
    }
    eventually("three are admitted", Duration::from_secs(5), async || {
        server.metric::<u64>("queue_depth{queue=\"create\"}").await == 3
    })
    .await;
    let rejected = problem(server.post(&order("sku-1")).await);
    assert_eq!(problem_kind(&rejected), "rate-limited");
    let mut held = Held::new(&server);
    held.admitted("a", "create").await;
    lock.batch_execute("COMMIT").await.unwrap();
    held.finish().await;
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().status(), 201);
    }
}

async fn a_principal_opens_at_most_its_share_of_the_streams(database: Database) {
    let (server, _file) = with_principals(&database, &[("MAX_STREAMS", "6")]).await;
    let open = async |principal: &str| EventStream::request_as(&server, principal).await;
    let mut streams = Vec::new();
    for (principal, accepted, next) in [("a", 3, 429), ("b", 2, 429), ("c", 1, 429), ("d", 0, 503)]
    {
        for _ in 0..accepted {
            let stream = open(principal).await;
            assert_eq!(stream.status(), 200, "{principal}");
            streams.push(stream);
        }
        let rejected = open(principal).await;
        assert_eq!(rejected.status(), next, "{principal}");
        assert_eq!(rejected.headers()["retry-after"], "1");
    }
    assert_eq!(server.metric::<i64>("event_streams").await, 6);
    drop(streams);
    eventually(
        "streams are accepted again",
        Duration::from_secs(5),
        async || open("d").await.status() == 200,
    )
    .await;
}

async fn slow_readers_of_one_principal_do_not_stop_another(database: Database) {
    let variables = [("RESPONSE_BUFFER_BYTES", "4000000")];
    let (server, _file) = with_principals(&database, &variables).await;
    create_large_orders(&server, 20).await;
    const PAGE: &str = "/api/v1/orders?limit=19";
    let mut slow = Vec::new();
    let (mut served, mut rejected) = (0, 0);
    for number in 0..8 {
        let mut client = request_without_reading_as(&server, "a", PAGE).await;
        let mut start = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut start)
            .await
            .unwrap();
        match &start {
            b"HTTP/1.1 200" => served += 1,
            b"HTTP/1.1 429" => rejected += 1,
            _ => panic!("{start:?} {number}"),
        }
        slow.push(client);
    }
    assert!(served >= 1 && rejected >= 5, "{served} {rejected}");
    // Half of the budget, and less when others are active.
    assert!(buffered_bytes(&server).await <= 2_000_000);
    for _ in 0..20 {
        let page: Vec<Value> = get_as(&server, "b", PAGE).await.json();
        assert_eq!(page.len(), 19);
    }
    assert!(
        buffered_bytes(&server).await > 900_000,
        "they still do not read"
    );
}
