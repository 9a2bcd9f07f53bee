//! External ids that a transaction of another session has inserted, and has not committed yet.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{expect_taken_by, spawn_post};
use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::orders::{order, order_with_external_id};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

const HOLDER: &str = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071";

/// SQL that inserts an order with this id and external id.
fn insert_order(id: &str, external_id: &str) -> String {
    format!(
        "INSERT INTO orders
            (tenant, id, status, external_id, metadata, version, created_at, updated_at, json_bytes)
        VALUES ('default', '{id}', 'pending', '{external_id}', '{{}}', 1, now(), now(), 288)"
    )
}

/// SQL that inserts orders with the external ids `locked-1` to `locked-LAST`.
fn insert_orders(last: u32) -> String {
    let orders = (1..=last).map(|i| {
        let id = format!("0199a3c4-5d6e-7f80-9a1b-{i:012}");
        insert_order(&id, &format!("locked-{i}"))
    });
    orders.collect::<Vec<_>>().join(";")
}

/// Requests for orders with a locked external id. In every other round they have a key, each its own.
fn spawn_locked(server: &Server, round: u32, last: u32) -> Vec<JoinHandle<Response>> {
    (1..=last)
        .map(|i| {
            let body = order_with_external_id("sku-1", &format!("locked-{i}"));
            let key = round
                .is_multiple_of(2)
                .then(|| format!("locked-{round}-{i}"));
            spawn_post(server, key, &body)
        })
        .collect()
}

#[tokio::test]
async fn a_locked_external_id_does_not_delay_other_requests() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let lock = database.begin(&insert_orders(3)).await;
    let mut waiting = Vec::new();
    for round in 0..5 {
        waiting.extend(spawn_locked(&server, round, 3));
        let start = Instant::now();
        let others: Vec<_> = (0..60)
            .map(|i| {
                let key = (i % 3 > 0).then(|| format!("{round}-{i}"));
                let body = match i % 4 {
                    0 => order("sku-1"),
                    _ => order_with_external_id("sku-1", &format!("{round}-{i}")),
                };
                spawn_post(&server, key, &body)
            })
            .collect();
        for other in others {
            assert_eq!(other.await.unwrap().status(), 201);
        }
        let took = start.elapsed();
        // In the first round the server detects which external ids are locked.
        let limit = if round == 0 { 3_000 } else { 1_000 };
        assert!(took < Duration::from_millis(limit), "{round}: {took:?}");
    }
    assert!(waiting.iter().all(|request| !request.is_finished()));
    lock.batch_execute("ROLLBACK").await.unwrap();
    let mut created = 0;
    for request in waiting {
        match request.await.unwrap().status() {
            201 => created += 1,
            status => assert_eq!(status, 409),
        }
    }
    assert_eq!(created, 3, "one order for each external id");
    assert_eq!(database.count("orders").await, 303);
}

/// The number of statements that did not get a lock in time.
async fn lock_timeouts(server: &Server) -> u64 {
    server
        .metric("db_errors_total{kind=\"lock_timeout\"}")
        .await
}

#[tokio::test]
async fn requests_that_compete_for_a_locked_external_id_share_a_lane() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let lock = database.begin(&insert_orders(1)).await;
    let mut waiting = spawn_locked(&server, 0, 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = lock_timeouts(&server).await;
    let start = Instant::now();
    for round in 1..=20 {
        waiting.extend(spawn_locked(&server, 2 * round, 1));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A lane pauses for 100 ms after each statement.
    let statements = lock_timeouts(&server).await - before;
    let of_one_lane = start.elapsed().as_millis() / 100 + 1;
    assert!(u128::from(statements) <= of_one_lane, "{statements}");
    lock.batch_execute("COMMIT").await.unwrap();
    for request in waiting {
        expect_taken_by(
            "0199a3c4-5d6e-7f80-9a1b-000000000001",
            request.await.unwrap(),
        );
    }
    assert_eq!(database.count("idempotency_keys").await, 0);
}

#[tokio::test]
async fn requests_for_an_external_id_that_stays_locked_time_out() {
    let database = Database::postgres().await;
    let times = [("REQUEST_TIMEOUT", "2s"), ("STATEMENT_TIMEOUT", "1s")];
    let server = Server::start(&database, &times).await;
    let lock = database.begin(&insert_orders(1)).await;
    for request in spawn_locked(&server, 0, 1) {
        let response = request.await.unwrap();
        assert_eq!(problem_kind(&problem(response)), "timeout");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let depth: i64 = server.metric("queue_depth{queue=\"create\"}").await;
    assert_eq!(depth, 0);
    lock.batch_execute("ROLLBACK").await.unwrap();
    let body = order_with_external_id("sku-1", "locked-1");
    let created = spawn_post(&server, Some("locked-0-1".to_owned()), &body);
    assert_eq!(created.await.unwrap().status(), 201);
    assert_eq!(database.count("orders").await, 1);
}

/// The statement has written its keys, and finds that another transaction has taken an external id since it began.
#[tokio::test]
async fn a_statement_that_loses_the_race_for_an_external_id_creates_the_other_orders() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    for round in 0..10 {
        let external_id = format!("raced-{round}");
        let holder = HOLDER.replace("6071", &format!("60{round:02}"));
        let lock = database.begin(&insert_order(&holder, &external_id)).await;
        let loser = order_with_external_id("loser", &external_id);
        let loser = spawn_post(&server, Some(format!("loser-{round}")), &loser);
        let others: Vec<_> = (0..10)
            .map(|i| {
                let body = order_with_external_id("sku-1", &format!("{round}-{i}"));
                spawn_post(&server, Some(format!("{round}-{i}")), &body)
            })
            .collect();
        // Shorter than the statement waits.
        tokio::time::sleep(Duration::from_millis(40)).await;
        lock.batch_execute("COMMIT").await.unwrap();
        expect_taken_by(&holder, loser.await.unwrap());
        for other in others {
            assert_eq!(other.await.unwrap().status(), 201);
        }
        let kept = format!("idempotency_keys WHERE key_hash = sha256('loser-{round}')");
        assert_eq!(database.count(&kept).await, 0);
        let retry = order_with_external_id("loser", &format!("free-{round}"));
        let retry = server
            .post_with_key(&format!("loser-{round}"), &retry)
            .await;
        assert_eq!(retry.status(), 201);
        assert_eq!(retry.json::<Value>()["product_id"], "loser");
    }
}
