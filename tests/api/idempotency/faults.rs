//! Idempotency keys when the database times out, discards rows, or is replaced by another one.

use std::time::Duration;

use super::{is_replay, rows};
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::problem::{problem, problem_kind};
use crate::support::relay::Relay;
use crate::support::server::Server;

crate::on_both!(
    an_order_that_the_database_discards_is_never_a_201,
    a_replay_does_not_need_the_event,
);

#[tokio::test]
async fn retries_after_a_timeout_are_replays_and_batches_of_the_same_keys_do_not_deadlock() {
    // By default, the server looks for a deadlock only after a second, when `lock_timeout` has ended the wait.
    let cluster = Cluster::start_with(&[("POSTGRES_CONF", "deadlock_timeout = 1ms")]);
    let database = cluster.database().await;
    migrate(&database);
    let variables = [("REQUEST_TIMEOUT", "300ms")];
    let one = Server::start(&database, &variables).await;
    let two = Server::start(&database, &variables).await;
    let lock = database.begin("LOCK TABLE orders").await;
    // Both servers form batches while the table is locked, with the same keys in opposite order.
    let mut tasks = Vec::new();
    for i in 0..60 {
        for (server, key) in [(&one, i), (&two, 59 - i)] {
            let request = server.client.post(server.url("/api/v1/orders"));
            let request = request.header("idempotency-key", format!("key-{key}"));
            tasks.push(tokio::spawn(request.json(&order("sku-1")).send()));
        }
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 503);
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
    eventually(
        "all orders are created",
        Duration::from_secs(5),
        async || rows(&database).await == (60, 60),
    )
    .await;
    for i in 0..60 {
        let retry = one
            .post_with_key(&format!("key-{i}"), &order("sku-1"))
            .await;
        assert_eq!(retry.status(), 201);
        assert!(is_replay(&retry));
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(database.number(deadlocks).await, 0);
}

/// SQL for a trigger that discards inserted rows without an error.
fn discarding_inserts(database: &Database, table: &str) -> String {
    if database.is_postgres() {
        format!(
            "CREATE FUNCTION discard_{table}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER discard BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION discard_{table}()"
        )
    } else {
        format!(
            "CREATE TRIGGER discard_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(IGNORE); END"
        )
    }
}

async fn an_order_that_the_database_discards_is_never_a_201(database: Database) {
    let server = Server::start(&database, &[]).await;
    database
        .execute(&discarding_inserts(&database, "orders"))
        .await;
    for _ in 0..2 {
        let rejected = problem(server.post(&order("sku-1")).await);
        assert_eq!(problem_kind(&rejected), "unavailable");
    }
    database
        .execute(&discarding_inserts(&database, "idempotency_keys"))
        .await;
    let rejected = problem(server.post_with_key("key", &order("sku-1")).await);
    assert_eq!(problem_kind(&rejected), "unavailable");
    assert_eq!(rows(&database).await, (0, 0));
}

async fn a_replay_does_not_need_the_event(database: Database) {
    let server = Server::start(&database, &[]).await;
    let first = server.post_with_key("key", &order("sku-1")).await;
    // As retention does.
    database.execute("DELETE FROM events").await;
    let again = server.post_with_key("key", &order("sku-1")).await;
    assert_eq!(again.status(), 201);
    assert!(is_replay(&again));
    assert_eq!(again.text(), first.text());
    let other = problem(server.post_with_key("key", &order("sku-2")).await);
    assert_eq!(problem_kind(&other), "idempotency-key-reused");
    assert_eq!(database.count("orders").await, 1);
}

/// Between the insert, which finds that the key is used, and the look-up of the key, the address starts to lead to
/// another database.
#[tokio::test]
async fn a_replay_is_never_sent_from_a_database_without_the_order() {
    let clusters = [Cluster::start(), Cluster::start()];
    let name = "relayed".to_owned();
    let first = Database::postgres_named(clusters[0].url.clone(), name.clone()).await;
    let second = Database::postgres_named(clusters[1].url.clone(), name).await;
    migrate(&first);
    migrate(&second);
    let relay = Relay::in_front_of(&first, &second).await;
    let variables = [
        ("POOL_MAX_SIZE", "1"),
        ("POOL_MIN_IDLE", "1"),
        ("DATABASE_URL", relay.url()),
    ];
    let server = Server::spawn(&variables).await;
    // Prepares both statements.
    for _ in 0..2 {
        assert_eq!(
            server.post_with_key("key", &order("sku-1")).await.status(),
            201
        );
    }
    relay.switch_after_next_response();
    let response = server.post_with_key("key", &order("sku-1")).await;
    assert!(relay.has_switched());
    assert_eq!(response.status(), 201);
    assert!(
        !is_replay(&response),
        "the second database does not have the key"
    );
    let stored = server.get(response.header("location")).await;
    assert_eq!(stored.status(), 200);
    assert_eq!(stored.text(), response.text());
    assert_eq!(second.count("orders").await, 1);
}
