//! Locked keys, locked orders and many updates of one order do not delay or fail other requests.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::auth_file::AuthFile;
use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::orders::{large_order, order, order_path};
use crate::support::principals::credential;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    updates_of_one_order_stop_when_their_clients_have_responses,
    concurrent_reads_of_large_orders_use_bounded_memory,
);

/// SQL that inserts the keys `locked-FROM` to `locked-TO` of other orders. Its transaction locks them.
fn lock_keys(from: i32, to: i32) -> String {
    format!(
        "INSERT INTO idempotency_keys
            (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
        SELECT 'default', sha256(('locked-' || i)::bytea), gen_random_uuid(), sha256('x'), 1, '{{}}', now()
        FROM generate_series({from}, {to}) AS i"
    )
}

/// Sends a request for an order in a task of its own.
fn spawn_post(server: &Server, key: Option<String>) -> JoinHandle<Response> {
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
async fn a_locked_idempotency_key_does_not_delay_other_requests() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let lock = database.begin(&lock_keys(1, 3)).await;
    let mut waiting = Vec::new();
    for round in 0..5 {
        waiting.extend((1..=3).map(|i| spawn_post(&server, Some(format!("locked-{i}")))));
        let start = Instant::now();
        let others: Vec<_> = (0..60)
            .map(|i| spawn_post(&server, (i % 3 > 0).then(|| format!("{round}-{i}"))))
            .collect();
        for other in others {
            assert_eq!(other.await.unwrap().status(), 201);
        }
        let took = start.elapsed();
        // In the first round the server detects which keys are locked.
        let limit = if round == 0 { 3_000 } else { 1_000 };
        assert!(took < Duration::from_millis(limit), "{round}: {took:?}");
    }
    assert!(waiting.iter().all(|request| !request.is_finished()));
    lock.batch_execute("ROLLBACK").await.unwrap();
    let mut ids = Vec::new();
    for request in waiting {
        let response = request.await.unwrap();
        assert_eq!(response.status(), 201);
        ids.push(response.json::<Value>()["id"].clone());
    }
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), 3, "one order for each key");
    assert_eq!(database.count("orders").await, 303);
}

#[tokio::test]
async fn requests_on_a_key_that_stays_locked_time_out_and_leave_the_queue() {
    let database = Database::postgres().await;
    let times = [("REQUEST_TIMEOUT", "2s"), ("STATEMENT_TIMEOUT", "1s")];
    let server = Server::start(&database, &times).await;
    let lock = database.begin(&lock_keys(1, 1)).await;
    let waiting: Vec<_> = (0..20)
        .map(|_| spawn_post(&server, Some("locked-1".to_owned())))
        .collect();
    for request in waiting {
        assert_eq!(problem_kind(&problem(request.await.unwrap())), "timeout");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let depth: i64 = server.metric("queue_depth{queue=\"create\"}").await;
    assert_eq!(depth, 0);
    lock.batch_execute("ROLLBACK").await.unwrap();
    let later = spawn_post(&server, Some("locked-1".to_owned()))
        .await
        .unwrap();
    assert_eq!(later.status(), 201);
    assert_eq!(database.count("orders").await, 1);
}

/// The number of attempts to update an order.
async fn attempts(server: &Server) -> u64 {
    server
        .metric("db_query_duration_seconds_count{query=\"update_order\"}")
        .await
}

async fn updates_of_one_order_stop_when_their_clients_have_responses(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "200000")]).await;
    // One entry below the maximum, so that each update may add one.
    let order: Value = server.post(&large_order(49)).await.json();
    let url = server.url(&order_path(&order));
    let updates: Vec<_> = (0..300)
        .map(|i| {
            let patch = json!({"metadata": {"n": i.to_string()}});
            let request = server.client.patch(&url).json(&patch);
            tokio::spawn(async move { request.send().await.unwrap() })
        })
        .collect();
    let mut updated = 0;
    for request in updates {
        let response = request.await.unwrap();
        if response.status() == 200 {
            updated += 1;
        } else {
            let problem = problem(response);
            let kind = problem_kind(&problem);
            assert!(["timeout", "rate-limited"].contains(&kind), "{problem}");
        }
    }
    assert!(updated > 0);
    // At most one attempt for each request, and none after the clients have their responses.
    let tried = attempts(&server).await;
    assert!(tried <= 300, "{tried}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(attempts(&server).await, tried);
    let order: Value = server.client.get(&url).send().await.unwrap().json();
    let versions = order["version"].as_u64().unwrap() - 1;
    // An update that was being written when its request timed out is kept.
    assert!(
        (updated..=tried).contains(&versions),
        "{updated} {versions} {tried}"
    );
    let peak = server.peak_memory_mib();
    assert!(peak < 128, "{peak} MiB");
}

async fn concurrent_reads_of_large_orders_use_bounded_memory(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "200000")]).await;
    let mut urls = Vec::new();
    for i in 0..120 {
        // One in six is small.
        let mut body = large_order(if i % 6 > 0 { 50 } else { 0 });
        body["product_id"] = json!(i.to_string());
        let order: Value = server.post(&body).await.json();
        urls.push((server.url(&order_path(&order)), i.to_string()));
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
            let (response, product) = read.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.json::<Value>()["product_id"], product.as_str());
        }
    }
    let peak = server.peak_memory_mib();
    assert!(peak < 100, "{peak} MiB");
}

#[tokio::test]
async fn updates_of_locked_orders_leave_connections_for_other_requests() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[("POOL_MAX_SIZE", "4")]).await;
    let mut urls = Vec::new();
    for i in 0..12 {
        let order = server.create(&format!("sku-{i}")).await;
        urls.push(server.url(&order_path(&order)));
    }
    let lock = database.begin("SELECT FROM orders FOR UPDATE").await;
    let updates: Vec<_> = urls
        .iter()
        .map(|url| {
            let request = server.client.patch(url).json(&json!({"quantity": 7}));
            tokio::spawn(async move { request.send().await.unwrap() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for round in 0..3 {
        let start = Instant::now();
        let posts: Vec<_> = (0..20).map(|_| spawn_post(&server, None)).collect();
        for post in posts {
            assert_eq!(post.await.unwrap().status(), 201);
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(1_500), "{round}: {took:?}");
    }
    assert!(updates.iter().all(|update| !update.is_finished()));
    lock.batch_execute("ROLLBACK").await.unwrap();
    for update in updates {
        assert_eq!(update.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_key_whose_lock_is_released_does_not_wait_for_keys_that_stay_locked() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[("POOL_MAX_SIZE", "2")]).await;
    let twelve = database.begin(&lock_keys(1, 12)).await;
    let thirteenth = database.begin(&lock_keys(13, 13)).await;
    let waiting: Vec<_> = (1..=12)
        .map(|i| spawn_post(&server, Some(format!("locked-{i}"))))
        .collect();
    let released = spawn_post(&server, Some("locked-13".to_owned()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..20 {
        assert_eq!(spawn_post(&server, None).await.unwrap().status(), 201);
    }
    thirteenth.batch_execute("ROLLBACK").await.unwrap();
    let start = Instant::now();
    assert_eq!(released.await.unwrap().status(), 201);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    twelve.batch_execute("ROLLBACK").await.unwrap();
    for request in waiting {
        assert_eq!(request.await.unwrap().status(), 201);
    }
}

#[tokio::test]
async fn a_hundred_locked_keys_of_one_tenant_do_not_delay_another() {
    let database = Database::postgres().await;
    let scopes: &[&str] = &["orders:read", "orders:write"];
    let file = AuthFile::with_keys(&[("a", scopes, "tenant-a"), ("b", scopes, "tenant-b")]);
    let server = Server::start(&database, &[("AUTH_FILE", &file.path())]).await;
    let sql = lock_keys(1, 100).replace("'default'", "'tenant-a'");
    let lock = database.begin(&sql).await;
    let post = |principal: &str, key: Option<String>| {
        let request = server.client.post(server.url("/api/v1/orders"));
        let mut request = request
            .json(&order("sku-1"))
            .header("authorization", credential(principal));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        tokio::spawn(async move { request.send().await.unwrap() })
    };
    let waiting: Vec<_> = (1..=100)
        .map(|i| post("a", Some(format!("locked-{i}"))))
        .collect();
    for round in 0..20 {
        let start = Instant::now();
        let others: Vec<_> = (1..=10)
            .map(|i| {
                post(
                    "b",
                    (i % 3 > 0).then(|| format!("locked-{}", round * 10 + i)),
                )
            })
            .collect();
        for other in others {
            assert_eq!(other.await.unwrap().status(), 201);
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(1_500), "{round}: {took:?}");
    }
    assert!(waiting.iter().all(|request| !request.is_finished()));
    lock.batch_execute("ROLLBACK").await.unwrap();
    for request in waiting {
        assert_eq!(request.await.unwrap().status(), 201);
    }
}
