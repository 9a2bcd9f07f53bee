//! A batch counts as its orders in the store, and as one request in the rate.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{batch_request, orders, outcomes, post_batch, results};
use crate::support::auth_file::AuthFile;
use crate::support::client::{Request, Response};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::{large_order, order};
use crate::support::principals::{client_that_reads_nothing, credential, with_principals};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    a_batch_larger_than_the_capacity_is_served,
    a_batch_whose_response_has_no_budget_is_rejected_before_it_is_stored,
    a_batch_is_one_request_of_the_rate,
);

const LONG: [(&str, &str); 2] = [("REQUEST_TIMEOUT", "60s"), ("STATEMENT_TIMEOUT", "60s")];

async fn depth(server: &Server) -> usize {
    server.metric("queue_depth{queue=\"create\"}").await
}

/// A service whose creates wait until the lock on the table ends.
struct Held {
    server: Server,
    _file: AuthFile,
    waiting: Vec<JoinHandle<Response>>,
}

impl Held {
    async fn new(database: &Database, capacity: &str) -> Self {
        let mut variables = LONG.to_vec();
        variables.push(("QUEUE_CAPACITY", capacity));
        let (server, file) = with_principals(database, &variables).await;
        Self {
            server,
            _file: file,
            waiting: Vec::new(),
        }
    }

    fn request(&self, principal: &str, batch: &[Value]) -> Request {
        let request = batch_request(&self.server, batch);
        request.header("authorization", credential(principal))
    }

    /// Sends a batch that is admitted and waits for the database.
    async fn admitted(&mut self, principal: &str, count: usize) {
        let before = depth(&self.server).await;
        let request = self.request(principal, &orders(count)).send();
        self.waiting
            .push(tokio::spawn(async { request.await.unwrap() }));
        let what = format!("{count} orders of {principal} are admitted after {before}");
        eventually(&what, Duration::from_secs(5), async || {
            depth(&self.server).await == before + count
        })
        .await;
    }

    /// Sends a batch that is rejected at once, as a whole.
    async fn rejected(&self, principal: &str, batch: &[Value], kind: &str) {
        let before = depth(&self.server).await;
        let response = self.request(principal, batch).send();
        let response = tokio::time::timeout(Duration::from_secs(5), response).await;
        let rejected = problem(response.expect("a response at once").unwrap());
        assert_eq!(problem_kind(&rejected), kind, "{principal}");
        assert_eq!(depth(&self.server).await, before);
    }

    /// Every batch that was admitted gets its orders.
    async fn finish_waiting(&mut self) {
        for response in self.waiting.drain(..) {
            let results = results(&response.await.unwrap());
            assert!(results.iter().all(|result| result["status"] == 201));
        }
    }

    async fn finish(mut self) {
        self.finish_waiting().await;
        eventually("no permit is held", Duration::from_secs(5), async || {
            depth(&self.server).await == 0
        })
        .await;
        assert_eq!(self.server.post(&order("later")).await.status(), 201);
    }
}

const LOCK: &str = "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE";

#[tokio::test]
async fn a_batch_takes_a_permit_for_each_order_or_is_rejected_as_a_whole() {
    let database = Database::postgres().await;
    let mut held = Held::new(&database, "240").await;
    let lock = database.begin(LOCK).await;
    // Alone, a principal may hold half, which are 120. It holds more than a half of these when it sends the second.
    held.admitted("a", 70).await;
    held.rejected("a", &orders(51), "rate-limited").await;
    held.admitted("a", 50).await;
    held.rejected("a", &orders(1), "rate-limited").await;
    // Half of the capacity is in use, so a batch may exceed it.
    held.admitted("b", 100).await;
    held.rejected("c", &orders(21), "overloaded").await;
    held.admitted("c", 20).await;
    held.rejected("d", &orders(1), "overloaded").await;
    let rejected: u64 = held
        .server
        .metric("queue_rejected_total{queue=\"create\"}")
        .await;
    assert_eq!(rejected, 2, "a batch counts once");
    lock.batch_execute("COMMIT").await.unwrap();
    held.finish().await;
    assert_eq!(database.count("orders").await, 240 + 1);
}

#[tokio::test]
async fn a_principal_with_other_requests_in_progress_has_a_batch_admitted_that_exceeds_its_share() {
    let database = Database::postgres().await;
    let mut held = Held::new(&database, "100").await;
    let lock = database.begin(LOCK).await;
    // Its share is 50. An invalid order counts as well.
    let mut batch = orders(13);
    batch[0] = json!({});
    held.admitted("a", 13).await;
    let request = held.request("a", &batch).send();
    let invalid = tokio::spawn(async { request.await.unwrap() });
    eventually("it is admitted", Duration::from_secs(5), async || {
        depth(&held.server).await == 25
    })
    .await;
    held.rejected("a", &orders(100), "rate-limited").await;
    lock.batch_execute("COMMIT; BEGIN").await.unwrap();
    held.finish_waiting().await;
    assert_eq!(
        outcomes(&results(&invalid.await.unwrap()))[..2],
        [(422, "validation-failed"), (201, "")]
    );
    lock.batch_execute(LOCK).await.unwrap();
    held.admitted("a", 25).await;
    held.admitted("a", 100).await;
    held.rejected("a", &orders(1), "rate-limited").await;
    held.rejected("b", &orders(1), "overloaded").await;
    lock.batch_execute("COMMIT").await.unwrap();
    held.finish().await;
}

#[tokio::test]
async fn metadata_counts_as_in_single_requests() {
    let database = Database::postgres().await;
    let mut held = Held::new(&database, "100").await;
    let lock = database.begin(LOCK).await;
    held.admitted("a", 26).await;
    // Ten orders with two permits each, beyond a half of the share of 50.
    let large = vec![large_order(2); 10];
    held.admitted("a", 4).await;
    held.rejected("a", &vec![large_order(2); 11], "rate-limited")
        .await;
    let request = held.request("a", &large).send();
    held.waiting
        .push(tokio::spawn(async { request.await.unwrap() }));
    eventually("they are admitted", Duration::from_secs(5), async || {
        depth(&held.server).await == 40
    })
    .await;
    held.rejected("a", &orders(1), "rate-limited").await;
    lock.batch_execute("COMMIT").await.unwrap();
    held.finish().await;
}

async fn a_batch_larger_than_the_capacity_is_served(database: Database) {
    for capacity in ["1", "2", "20"] {
        let server = Server::start(&database, &[("QUEUE_CAPACITY", capacity)]).await;
        for _ in 0..3 {
            let results = results(&post_batch(&server, &orders(100)).await);
            assert_eq!(outcomes(&results), [(201, ""); 100], "{capacity}");
            assert_eq!(server.post(&order("single")).await.status(), 201);
        }
    }
}

async fn a_batch_whose_response_has_no_budget_is_rejected_before_it_is_stored(database: Database) {
    let variables = [("RESPONSE_BUFFER_BYTES", "400000")];
    let (server, _file) = with_principals(&database, &variables).await;
    let send = async |principal: &str, batch: &[Value]| {
        let request = batch_request(&server, batch);
        let request = request.header("authorization", credential(principal));
        request.send().await.unwrap()
    };
    let large = vec![large_order(10); 20];
    assert_eq!(send("a", &large).await.status(), 200);
    // A page that is not read uses more than the share of its principal.
    let mut slow = client_that_reads_nothing(&server).await;
    let authorization = credential("a");
    slow.send(format!(
        "GET /api/v1/orders?limit=20 HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n"
    ))
    .await;
    eventually("the budget is used", Duration::from_secs(5), async || {
        server.metric::<usize>("http_response_buffer_bytes").await > 200_000
    })
    .await;
    // The request is small, and its response is not.
    let rejected = send("a", &orders(30)).await;
    assert!([429, 503].contains(&rejected.status()), "{rejected:?}");
    assert_eq!(database.count("orders").await, 20);
    drop(slow);
    eventually("the budget is free", Duration::from_secs(5), async || {
        send("a", &orders(1)).await.status() == 200
    })
    .await;
}

async fn a_batch_is_one_request_of_the_rate(database: Database) {
    let variables = [("RATE_LIMIT", "1"), ("RATE_BURST", "3")];
    let (server, _file) = with_principals(&database, &variables).await;
    for left in [2, 1, 0] {
        let response = post_batch(&server, &orders(100)).await;
        assert_eq!(
            response.header("ratelimit"),
            format!("\"default\";r={left};t=1")
        );
        assert_eq!(outcomes(&results(&response)), [(201, ""); 100]);
    }
    let rejected = problem(post_batch(&server, &orders(1)).await);
    assert_eq!(problem_kind(&rejected), "rate-limited");
    assert_eq!(database.count("orders").await, 300);
}

/// Orders of a batch are written together, even if the service is idle.
#[tokio::test]
async fn a_batch_takes_few_statements() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    const BATCHES: usize = 30;
    for _ in 0..BATCHES {
        assert_eq!(post_batch(&server, &orders(100)).await.status(), 200);
    }
    let orders: usize = server.metric("batch_size_sum{queue=\"create\"}").await;
    let statements: usize = server.metric("batch_size_count{queue=\"create\"}").await;
    eprintln!("{statements} statements");
    assert_eq!(orders, BATCHES * 100);
    assert!(statements <= BATCHES * 5, "{statements} statements");
}
