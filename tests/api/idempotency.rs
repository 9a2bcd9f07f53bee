use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::database::{Cluster, Database};
use crate::support::eventually;
use crate::support::relay::Relay;
use crate::support::server::{Server, migrate, order, problem, slug};

crate::on_both!(
    an_order_that_the_database_does_not_keep_is_never_a_201,
    a_replay_needs_no_event,
    fifty_at_once_place_one_order,
    another_body_under_the_same_key_is_refused,
    bodies_that_mean_the_same_are_the_same,
    a_replay_is_the_order_as_it_was_created,
    malformed_keys_are_refused,
    two_processes_place_one_order,
    errors_are_not_remembered,
);

async fn post(server: &Server, key: &str, body: &Value) -> Answer {
    let request = server.client.post(server.url("/api/v1/orders"));
    request
        .header("idempotency-key", key)
        .json(body)
        .send()
        .await
        .unwrap()
}

fn replayed(answer: &Answer) -> bool {
    let header = answer.headers().get("idempotency-replayed");
    assert!(header.is_none_or(|value| value == "true"));
    header.is_some()
}

async fn rows(database: &Database) -> (i64, i64) {
    (
        database.number("SELECT count(*) FROM orders").await,
        database.number("SELECT count(*) FROM events").await,
    )
}

/// Sends the same request many times at once, in turn to each server.
async fn at_once(servers: &[&Server], times: usize, key: &str, body: &Value) -> Vec<Answer> {
    let tasks: Vec<_> = (0..times)
        .map(|i| {
            let server = servers[i % servers.len()];
            let request = server.client.post(server.url("/api/v1/orders"));
            tokio::spawn(request.header("idempotency-key", key).json(body).send())
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap().unwrap());
    }
    answers
}

fn same_201s(answers: &[Answer]) {
    let bodies: HashSet<_> = answers.iter().map(Answer::text).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let ids: HashSet<_> = answers.iter().map(|a| a.header("location")).collect();
    assert_eq!(ids.len(), 1);
    assert!(
        answers
            .iter()
            .all(|a| a.status() == 201 && a.header("etag") == "\"1\"")
    );
    let replays = answers.iter().filter(|a| replayed(a)).count();
    assert_eq!(replays, answers.len() - 1);
}

async fn fifty_at_once_place_one_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    same_201s(&at_once(&[&server], 50, "key-1", &order("sku-1")).await);
    assert_eq!(rows(&database).await, (1, 1));
    let metrics = server.scrape().await;
    assert!(metrics.contains("\norders_created_total 1\n"), "{metrics}");
    assert!(
        metrics.contains("\norders_idempotent_replays_total 49\n"),
        "{metrics}"
    );
    // A key of another order, and no key at all, place other orders.
    assert!(!replayed(&post(&server, "key-2", &order("sku-1")).await));
    server.place("sku-1").await;
    assert_eq!(rows(&database).await, (3, 3));
}

async fn another_body_under_the_same_key_is_refused(database: Database) {
    let server = Server::start(&database, &[]).await;
    assert_eq!(post(&server, "k", &order("sku-1")).await.status(), 201);
    for other in [
        json!({"product_id": "sku-2", "quantity": 1}),
        json!({"product_id": "sku-1", "quantity": 2}),
        json!({"product_id": "sku-1", "quantity": 1, "customer_id": "c"}),
        json!({"product_id": "sku-1", "quantity": 1, "metadata": {"a": ""}}),
    ] {
        let refused = problem(post(&server, "k", &other).await);
        assert_eq!(slug(&refused), "idempotency-key-reused", "{other}");
    }
    // Also when both are in one batch.
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let request = server.client.post(server.url("/api/v1/orders"));
            let body = order(&format!("sku-{}", i % 2));
            tokio::spawn(request.header("idempotency-key", "both").json(&body).send())
        })
        .collect();
    let mut placed = HashSet::new();
    let mut refused = 0;
    for task in tasks {
        let answer = task.await.unwrap().unwrap();
        match answer.status() {
            201 => drop(placed.insert(answer.text())),
            422 => refused += 1,
            other => panic!("{other}: {answer:?}"),
        }
    }
    assert_eq!((placed.len(), refused), (1, 20));
    assert_eq!(rows(&database).await, (2, 2));
}

async fn bodies_that_mean_the_same_are_the_same(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut answers = Vec::new();
    for body in [
        r#"{"product_id":"a","quantity":3}"#,
        r#"{ "quantity" : 3, "product_id" : "a" }"#,
        r#"{"product_id":"a","quantity":3,"customer_id":null,"metadata":{}}"#,
        r#"{"product_id":"\u0061","quantity":3.0}"#,
    ] {
        let request = server.client.post(server.url("/api/v1/orders"));
        let request = request
            .header("content-type", "application/json")
            .body(body);
        answers.push(request.header("idempotency-key", "k").send().await.unwrap());
    }
    same_201s(&answers);
    let with = |metadata: &str| {
        let body = format!(r#"{{"product_id":"a","quantity":3,"metadata":{metadata}}}"#);
        let request = server.client.post(server.url("/api/v1/orders")).body(body);
        request
            .header("content-type", "application/json")
            .header("idempotency-key", "m")
            .send()
    };
    let first = with(r#"{"x":"1","y":"2"}"#).await.unwrap();
    let second = with(r#"{"y":"2","x":"1"}"#).await.unwrap();
    same_201s(&[first, second]);
}

async fn a_replay_is_the_order_as_it_was_created(database: Database) {
    let server = Server::start(&database, &[]).await;
    let created = post(&server, "k", &order("sku-1")).await;
    let path = created.header("location").to_owned();
    let patch = server
        .client
        .patch(server.url(&path))
        .json(&json!({"status": "confirmed"}));
    assert_eq!(patch.send().await.unwrap().header("etag"), "\"2\"");
    let replay = post(&server, "k", &order("sku-1")).await;
    assert_eq!(replay.text(), created.text());
    same_201s(&[created, replay]);
}

async fn malformed_keys_are_refused(database: Database) {
    let server = Server::start(&database, &[]).await;
    for key in ["", "has space", &"x".repeat(256), "tab\there", "é"] {
        let refused = problem(post(&server, key, &order("a")).await);
        assert_eq!(slug(&refused), "malformed-request", "{key:?}");
    }
    let twice = server
        .client
        .post(server.url("/api/v1/orders"))
        .json(&order("a"));
    let twice = twice
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    assert_eq!(
        slug(&problem(twice.send().await.unwrap())),
        "malformed-request"
    );
    assert_eq!(rows(&database).await, (0, 0));
    for key in ["x", &"x".repeat(255), "!~\"quoted\""] {
        assert_eq!(post(&server, key, &order("a")).await.status(), 201, "{key}");
    }
}

async fn two_processes_place_one_order(database: Database) {
    let one = Server::start(&database, &[]).await;
    let two = Server::start(&database, &[]).await;
    for round in 0..20 {
        let key = format!("key-{round}");
        same_201s(&at_once(&[&one, &two], 20, &key, &order("sku-1")).await);
    }
    assert_eq!(rows(&database).await, (20, 20));
}

async fn errors_are_not_remembered(database: Database) {
    let server = Server::start(&database, &[]).await;
    let bad = json!({"product_id": "a", "quantity": 0});
    assert_eq!(post(&server, "k", &bad).await.status(), 422);
    assert_eq!(post(&server, "k", &order("a")).await.status(), 201);
}

#[tokio::test]
async fn a_retry_after_a_503_succeeds_and_batches_of_the_same_keys_do_not_deadlock() {
    let database = Database::postgres().await;
    let variables = [("REQUEST_TIMEOUT", "300ms")];
    let one = Server::start(&database, &variables).await;
    let two = Server::start(&database, &variables).await;
    let holder = database.client().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE orders")
        .await
        .unwrap();
    // Batches form on both while the table is locked, with the same keys in different orders.
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
    holder.batch_execute("ROLLBACK").await.unwrap();
    eventually("all are placed", Duration::from_secs(5), async || {
        rows(&database).await == (60, 60)
    })
    .await;
    for i in 0..60 {
        let retry = post(&one, &format!("key-{i}"), &order("sku-1")).await;
        assert_eq!(retry.status(), 201);
        assert!(replayed(&retry));
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(database.number(deadlocks).await, 0);
}

/// Triggers that pass over rows without an error.
fn passing_over(database: &Database, table: &str) -> String {
    if database.is_postgres() {
        format!(
            "CREATE FUNCTION pass_{table}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER pass BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION pass_{table}()"
        )
    } else {
        format!(
            "CREATE TRIGGER pass_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(IGNORE); END"
        )
    }
}

async fn an_order_that_the_database_does_not_keep_is_never_a_201(database: Database) {
    let server = Server::start(&database, &[]).await;
    database.execute(&passing_over(&database, "orders")).await;
    for _ in 0..2 {
        let refused = problem(server.post(&order("sku-1")).await);
        assert_eq!(slug(&refused), "unavailable");
    }
    database
        .execute(&passing_over(&database, "idempotency_keys"))
        .await;
    let refused = problem(post(&server, "key", &order("sku-1")).await);
    assert_eq!(slug(&refused), "unavailable");
    assert_eq!(rows(&database).await, (0, 0));
}

async fn a_replay_needs_no_event(database: Database) {
    let server = Server::start(&database, &[]).await;
    let first = post(&server, "key", &order("sku-1")).await;
    // As retention will.
    database.execute("DELETE FROM events").await;
    let again = post(&server, "key", &order("sku-1")).await;
    assert_eq!(again.status(), 201);
    assert!(replayed(&again));
    assert_eq!(again.text(), first.text());
    let other = problem(post(&server, "key", &order("sku-2")).await);
    assert_eq!(slug(&other), "idempotency-key-reused");
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
}

/// The database moves between the insert, which finds the key taken, and the look-up of the key.
#[tokio::test]
async fn an_order_is_never_confirmed_by_a_server_that_does_not_have_it() {
    let clusters = [Cluster::start(), Cluster::start()];
    let name = "moves".to_owned();
    let first = Database::postgres_named(clusters[0].url.clone(), name.clone()).await;
    let second = Database::postgres_named(clusters[1].url.clone(), name).await;
    migrate(&first);
    migrate(&second);
    let relay = Relay::before(&first, &second).await;
    let one = [
        ("POOL_MAX_SIZE", "1"),
        ("POOL_MIN_IDLE", "1"),
        ("DATABASE_URL", relay.url()),
    ];
    let server = Server::spawn(&one).await;
    // Prepares both statements.
    for _ in 0..2 {
        assert_eq!(post(&server, "key", &order("sku-1")).await.status(), 201);
    }
    relay.move_after_next_response();
    let answer = post(&server, "key", &order("sku-1")).await;
    assert!(relay.has_moved());
    assert_eq!(answer.status(), 201);
    assert!(
        !replayed(&answer),
        "the second server has never seen the key"
    );
    let stored = server.get(answer.header("location")).await;
    assert_eq!(stored.status(), 200);
    assert_eq!(stored.text(), answer.text());
    assert_eq!(second.number("SELECT count(*) FROM orders").await, 1);
}
