//! Batches when the database, the client or the service fails.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{BATCH, batch_request, is_replay, keyed, orders, outcomes, post_batch, results};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    after_sigkill_retries_with_keys_lose_and_duplicate_nothing,
    a_fault_of_one_order_does_not_fail_the_others,
    a_fault_of_every_valid_order_fails_the_request,
);

async fn after_sigkill_retries_with_keys_lose_and_duplicate_nothing(database: Database) {
    const BATCHES: usize = 6;
    let batch = |round: usize, number: usize| -> Vec<Value> {
        let orders = (0..100).map(|i| keyed("sku-1", &format!("{round}-{number}-{i}")));
        orders.collect()
    };
    let mut received: HashMap<String, String> = HashMap::new();
    let mut sent = Vec::new();
    let mut interrupted = 0;
    for round in 0..6 {
        let server = Server::start(&database, &[]).await;
        let tasks: Vec<_> = (0..BATCHES)
            .map(|number| {
                let batch = batch(round, number);
                let request = batch_request(&server, &batch);
                sent.push(batch.clone());
                tokio::spawn(async move { (batch, request.send().await) })
            })
            .collect();
        // A random point between accepting the requests and sending the responses.
        let moment = u64::try_from(Uuid::new_v4().as_u128() % 40).unwrap();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        server.signal(libc::SIGKILL);
        for task in tasks {
            let (batch, response) = task.await.unwrap();
            let Ok(response) = response else {
                interrupted += 1;
                continue;
            };
            for (order, result) in batch.iter().zip(results(&response)) {
                let key = order["idempotency_key"].as_str().unwrap().to_owned();
                received.insert(key, result["order"].to_string());
            }
        }
    }
    assert!(interrupted > 0, "no request was interrupted");
    let stored = database.count("orders").await;
    assert!(usize::try_from(stored).unwrap() >= received.len());
    assert_eq!(database.count("events").await, stored);
    let server = Server::start(&database, &[]).await;
    let mut replays = 0;
    for batch in &sent {
        for (order, result) in batch.iter().zip(results(&post_batch(&server, batch).await)) {
            assert_eq!(result["status"], 201, "{result}");
            replays += i64::from(is_replay(&result));
            if let Some(order) = received.get(order["idempotency_key"].as_str().unwrap()) {
                assert_eq!(result["order"].to_string(), *order);
                assert!(is_replay(&result));
            }
        }
    }
    assert_eq!(
        replays, stored,
        "each order that is stored is the replay of its key"
    );
    let all = i64::try_from(sent.len() * 100).unwrap();
    assert_eq!(database.count("orders").await, all);
    assert_eq!(database.count("events").await, all);
}

/// SQL for a trigger that fails the statement for orders of the product `bad`.
fn reject_bad(database: &Database) -> &'static str {
    if database.is_postgres() {
        "CREATE FUNCTION reject_bad() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF NEW.data->>''customer_id'' = ''bad'' THEN RAISE EXCEPTION ''bad''; END IF; RETURN NEW; END';
         CREATE TRIGGER reject_bad BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION reject_bad()"
    } else {
        "CREATE TRIGGER reject_bad BEFORE INSERT ON events WHEN NEW.data->>'customer_id' = 'bad'
         BEGIN SELECT RAISE(ABORT, 'bad'); END"
    }
}

fn bad() -> Value {
    json!({"product_id": "a", "quantity": 1, "customer_id": "bad"})
}

async fn a_fault_of_one_order_does_not_fail_the_others(database: Database) {
    let server = Server::start(&database, &[]).await;
    database.execute(reject_bad(&database)).await;
    let mut batch = orders(100);
    batch[40] = bad();
    batch[41] = bad();
    batch[42] = json!({});
    let request = batch_request(&server, &batch).header("x-request-id", "faulty");
    let results = results(&request.send().await.unwrap());
    for (index, outcome) in outcomes(&results).into_iter().enumerate() {
        let expected = match index {
            40 | 41 => (500, "internal"),
            42 => (422, "validation-failed"),
            _ => (201, ""),
        };
        assert_eq!(outcome, expected, "{index}");
    }
    assert_eq!(results[40]["problem"]["request_id"], "faulty");
    assert_eq!(database.count("orders").await, 97);
    eventually("the cause is logged", Duration::from_secs(2), async || {
        let logs = server.logs();
        let mut causes = logs.iter().filter(|line| line["msg"] == "request failed");
        causes.any(|line| line["request_id"] == "faulty" && line["problem"] == "internal")
    })
    .await;
}

async fn a_fault_of_every_valid_order_fails_the_request(database: Database) {
    let server = Server::start(&database, &[]).await;
    database.execute(reject_bad(&database)).await;
    let failed = problem(post_batch(&server, &[bad(), json!({}), bad()]).await);
    assert_eq!(problem_kind(&failed), "internal");
    let one = problem(post_batch(&server, &[bad()]).await);
    assert_eq!(problem_kind(&one), "internal");
    let mixed = results(&post_batch(&server, &[bad(), order("a")]).await);
    assert_eq!(outcomes(&mixed), [(500, "internal"), (201, "")]);
    assert_eq!(database.count("orders").await, 1);
}

const TIMES: [(&str, &str); 2] = [("REQUEST_TIMEOUT", "500ms"), ("STATEMENT_TIMEOUT", "10s")];

#[tokio::test]
async fn accepted_orders_are_written_after_the_request_has_timed_out() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &TIMES).await;
    let lock = database
        .begin("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .await;
    let mut batch = orders(100);
    batch[0] = json!({});
    let late = problem(post_batch(&server, &batch).await);
    assert_eq!(problem_kind(&late), "timeout");
    lock.batch_execute("ROLLBACK").await.unwrap();
    eventually(
        "the orders are written",
        Duration::from_secs(5),
        async || database.count("orders").await == 99,
    )
    .await;
    assert_eq!(server.metric::<u64>("orders_created_total").await, 99);
}

#[tokio::test]
async fn accepted_orders_are_written_after_the_client_has_reset_the_connection() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let lock = database
        .begin("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .await;
    let depth = async || server.metric::<u64>("queue_depth{queue=\"create\"}").await;
    // Each of these occupies a worker of the queue, so that the batch waits in the queue when its client is gone.
    let mut singles = Vec::new();
    for number in 1..=4 {
        let request = server.client.post(server.url("/api/v1/orders"));
        singles.push(tokio::spawn(request.json(&order("single")).send()));
        eventually("it is admitted", Duration::from_secs(5), async || {
            depth().await == number
        })
        .await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let body = json!({"orders": orders(100)}).to_string();
    let request = format!(
        "POST {BATCH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    eventually(
        "the batch is admitted",
        Duration::from_secs(5),
        async || depth().await == 104,
    )
    .await;
    // With zero linger, closing the socket sends a reset.
    stream.set_zero_linger().unwrap();
    drop(stream);
    let aborted =
        format!("http_requests_total{{method=\"POST\",path=\"{BATCH}\",status=\"499\"}} 1\n");
    eventually("the reset is noticed", Duration::from_secs(5), async || {
        server.scrape().await.contains(&aborted)
    })
    .await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    eventually(
        "the orders are written",
        Duration::from_secs(5),
        async || database.count("orders").await == 104 && depth().await == 0,
    )
    .await;
}

#[tokio::test]
async fn a_key_that_stays_locked_fails_its_order_alone_and_can_be_retried() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[("REQUEST_TIMEOUT", "2s")]).await;
    let lock = database
        .begin(
            "INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
             VALUES ('default', sha256('locked'), gen_random_uuid(), sha256('x'), 1, '{}', now())",
        )
        .await;
    let mut batch: Vec<_> = (0..100).map(|i| keyed("sku-1", &i.to_string())).collect();
    batch[50]["idempotency_key"] = "locked".into();
    let results = results(&post_batch(&server, &batch).await);
    for (index, outcome) in outcomes(&results).into_iter().enumerate() {
        let expected = if index == 50 {
            (503, "timeout")
        } else {
            (201, "")
        };
        assert_eq!(outcome, expected, "{index}");
    }
    assert_eq!(database.count("orders").await, 99);
    lock.batch_execute("ROLLBACK").await.unwrap();
    let again = super::results(&post_batch(&server, &batch).await);
    assert_eq!(outcomes(&again), [(201, ""); 100]);
    assert_eq!(database.count("orders").await, 100);
}
