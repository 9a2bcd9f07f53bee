//! One bad neighbour costs others nothing: a blocked key, a storm of changes on one order.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::client::Answer;
use crate::support::database::Database;
use crate::support::server::{Server, order, problem, slug};

crate::on_both!(
    a_storm_of_changes_on_one_order_ends_with_its_clients,
    many_large_orders_are_read_within_bounds,
);

fn post(server: &Server, key: Option<String>) -> JoinHandle<Answer> {
    let mut request = server
        .client
        .post(server.url("/api/v1/orders"))
        .json(&order("sku-1"));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    tokio::spawn(async move { request.send().await.unwrap() })
}

#[tokio::test]
async fn a_blocked_idempotency_key_does_not_fail_its_neighbours() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let holder = database.client().await;
    let hold = "BEGIN; INSERT INTO idempotency_keys
        (key, order_id, request_hash, hash_version, document, created_at)
        SELECT 'blocked-' || i, gen_random_uuid(), sha256('x'), 1, '{}', now()
        FROM generate_series(1, 3) AS i";
    holder.batch_execute(hold).await.unwrap();
    let mut blocked = Vec::new();
    for round in 0..5 {
        blocked.extend((1..=3).map(|i| post(&server, Some(format!("blocked-{i}")))));
        let start = Instant::now();
        let neighbours: Vec<_> = (0..60)
            .map(|i| post(&server, (i % 3 > 0).then(|| format!("{round}-{i}"))))
            .collect();
        for neighbour in neighbours {
            assert_eq!(neighbour.await.unwrap().status(), 201);
        }
        let took = start.elapsed();
        // The first round finds out which keys are blocked. The others know.
        let limit = if round == 0 { 3_000 } else { 1_000 };
        assert!(took < Duration::from_millis(limit), "{round}: {took:?}");
    }
    assert!(blocked.iter().all(|request| !request.is_finished()));
    holder.batch_execute("ROLLBACK").await.unwrap();
    let mut ids = Vec::new();
    for request in blocked {
        let answer = request.await.unwrap();
        assert_eq!(answer.status(), 201);
        ids.push(answer.json::<Value>()["id"].clone());
    }
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), 3, "one order for each key");
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 303);
}

#[tokio::test]
async fn a_key_that_stays_blocked_is_a_timeout_and_holds_nothing() {
    let database = Database::postgres().await;
    let times = [("REQUEST_TIMEOUT", "2s"), ("STATEMENT_TIMEOUT", "1s")];
    let server = Server::start(&database, &times).await;
    let holder = database.client().await;
    let hold = "BEGIN; INSERT INTO idempotency_keys
        (key, order_id, request_hash, hash_version, document, created_at)
        VALUES ('blocked', gen_random_uuid(), sha256('x'), 1, '{}', now())";
    holder.batch_execute(hold).await.unwrap();
    let blocked: Vec<_> = (0..20)
        .map(|_| post(&server, Some("blocked".to_owned())))
        .collect();
    for request in blocked {
        assert_eq!(slug(&problem(request.await.unwrap())), "timeout");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let scrape = server.scrape().await;
    assert!(
        scrape.contains("queue_depth{queue=\"create\"} 0"),
        "{scrape}"
    );
    holder.batch_execute("ROLLBACK").await.unwrap();
    let later = post(&server, Some("blocked".to_owned())).await.unwrap();
    assert_eq!(later.status(), 201);
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
}

/// How often changes of orders have been tried.
async fn attempts(server: &Server) -> u64 {
    let scrape = server.scrape().await;
    let name = "db_query_duration_seconds_count{query=\"update_order\"} ";
    let line = scrape.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().parse().unwrap()
}

async fn a_storm_of_changes_on_one_order_ends_with_its_clients(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "200000")]).await;
    let metadata: serde_json::Map<_, _> = (0..49)
        .map(|i| (format!("key-{i}"), json!("\u{1F600}".repeat(500))))
        .collect();
    let large = json!({"product_id": "p", "quantity": 1, "metadata": metadata});
    let order: Value = server.post(&large).await.json();
    let url = server.url(&format!("/api/v1/orders/{}", order["id"].as_str().unwrap()));
    let storm: Vec<_> = (0..300)
        .map(|i| {
            let patch = json!({"metadata": {"n": i.to_string()}});
            let request = server.client.patch(&url).json(&patch);
            tokio::spawn(async move { request.send().await.unwrap() })
        })
        .collect();
    let mut changed = 0;
    for request in storm {
        let answer = request.await.unwrap();
        if answer.status() == 200 {
            changed += 1;
        } else {
            let slug = slug(&problem(answer)).to_owned();
            assert!(["timeout", "overloaded"].contains(&slug.as_str()), "{slug}");
        }
    }
    assert!(changed > 0);
    // One attempt a request at most, and none once the clients have their responses.
    let tried = attempts(&server).await;
    assert!(tried <= 300, "{tried}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(attempts(&server).await, tried);
    let order: Value = server.client.get(&url).send().await.unwrap().json();
    let versions = order["version"].as_u64().unwrap() - 1;
    // A change that was being written when its client gave up is there all the same.
    assert!(
        (changed..=tried).contains(&versions),
        "{changed} {versions} {tried}"
    );
    let peak = server.peak_mib();
    assert!(peak < 128, "{peak} MiB");
}

async fn many_large_orders_are_read_within_bounds(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "200000")]).await;
    let metadata: serde_json::Map<_, _> = (0..50)
        .map(|i| (format!("key-{i}"), json!("\u{1F600}".repeat(500))))
        .collect();
    let mut urls = Vec::new();
    for i in 0..120 {
        let mut body = json!({"product_id": i.to_string(), "quantity": 1});
        // Small ones are among them.
        if i % 6 > 0 {
            body["metadata"] = json!(metadata);
        }
        let order: Value = server.post(&body).await.json();
        let id = order["id"].as_str().unwrap();
        urls.push((server.url(&format!("/api/v1/orders/{id}")), i.to_string()));
    }
    for _ in 0..3 {
        let reads: Vec<_> = urls
            .iter()
            .map(|(url, product)| {
                let (request, product) = (server.client.get(url), product.clone());
                tokio::spawn(async move { (request.send().await.unwrap(), product) })
            })
            .collect();
        for read in reads {
            let (answer, product) = read.await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.json::<Value>()["product_id"], product.as_str());
        }
    }
    let peak = server.peak_mib();
    assert!(peak < 100, "{peak} MiB");
}

#[tokio::test]
async fn orders_that_are_locked_elsewhere_take_no_connections_from_others() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[("POOL_MAX_SIZE", "4")]).await;
    let mut urls = Vec::new();
    for i in 0..12 {
        let order = server.place(&format!("sku-{i}")).await;
        urls.push(server.url(&format!("/api/v1/orders/{}", order["id"].as_str().unwrap())));
    }
    let holder = database.client().await;
    holder
        .batch_execute("BEGIN; SELECT FROM orders FOR UPDATE")
        .await
        .unwrap();
    let changes: Vec<_> = urls
        .iter()
        .map(|url| {
            let request = server.client.patch(url).json(&json!({"quantity": 7}));
            tokio::spawn(async move { request.send().await.unwrap() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for round in 0..3 {
        let start = Instant::now();
        let posts: Vec<_> = (0..20).map(|_| post(&server, None)).collect();
        for placed in posts {
            assert_eq!(placed.await.unwrap().status(), 201);
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(1_500), "{round}: {took:?}");
    }
    assert!(changes.iter().all(|change| !change.is_finished()));
    holder.batch_execute("ROLLBACK").await.unwrap();
    for change in changes {
        assert_eq!(change.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_key_that_is_free_again_does_not_wait_for_those_that_are_not() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[("POOL_MAX_SIZE", "2")]).await;
    let hold = |from: i32, to: i32| {
        format!(
            "BEGIN; INSERT INTO idempotency_keys
                (key, order_id, request_hash, hash_version, document, created_at)
            SELECT 'blocked-' || i, gen_random_uuid(), sha256('x'), 1, '{{}}', now()
            FROM generate_series({from}, {to}) AS i"
        )
    };
    let (most, last) = (database.client().await, database.client().await);
    most.batch_execute(&hold(1, 12)).await.unwrap();
    last.batch_execute(&hold(13, 13)).await.unwrap();
    let blocked: Vec<_> = (1..=12)
        .map(|i| post(&server, Some(format!("blocked-{i}"))))
        .collect();
    let freed = post(&server, Some("blocked-13".to_owned()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..20 {
        assert_eq!(post(&server, None).await.unwrap().status(), 201);
    }
    last.batch_execute("ROLLBACK").await.unwrap();
    let start = Instant::now();
    assert_eq!(freed.await.unwrap().status(), 201);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    most.batch_execute("ROLLBACK").await.unwrap();
    for request in blocked {
        assert_eq!(request.await.unwrap().status(), 201);
    }
}
