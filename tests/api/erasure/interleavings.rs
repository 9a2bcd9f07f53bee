//! Requests that run at the same time as an erasure.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{done, erase, events_of, expect_consistent, orders_of, personal_order, request};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::export::Export;
use crate::support::orders::order_path;
use crate::support::random::Random;
use crate::support::server::Server;

crate::on_both!(
    updates_creates_replays_and_exports_during_erasures_leave_nothing,
    two_processes_erase_each_order_once,
);

/// A request at a random moment.
async fn disturb(server: Arc<Server>, seed: u64, paths: Arc<Vec<String>>, round: usize) {
    let mut random = Random(seed);
    for n in 0..12 {
        tokio::time::sleep(Duration::from_millis(random.below(6))).await;
        let index = usize::try_from(random.below(u64::try_from(paths.len()).unwrap())).unwrap();
        let path = &paths[index];
        match random.below(5) {
            0 => {
                let patch = json!({"metadata": {"late": format!("late-{seed}-{n}")}});
                let patched = server.patch(path, &patch).await;
                assert_eq!(patched.status(), 200);
            }
            1 => {
                let patched = server.patch(path, &json!({"status": "confirmed"})).await;
                assert_eq!(patched.status(), 200);
            }
            2 => {
                // The document of the creation, before or after the erasure, and nothing in between.
                let body = personal_order("ann", &format!("{round}-{index}"));
                let replay = server
                    .post_with_key(&format!("key-{round}-{index}"), &body)
                    .await;
                assert_eq!(replay.status(), 201);
                let replay: Value = replay.json();
                let personal = [
                    &replay["customer_id"],
                    &replay["external_id"],
                    &replay["metadata"],
                ];
                if personal[0] == "ann" {
                    assert_eq!(personal[1..], [&body["external_id"], &body["metadata"]]);
                } else {
                    assert_eq!(personal[1..], [&Value::Null, &json!({})]);
                }
            }
            3 => {
                let body = personal_order("ann", &format!("new-{seed}-{n}"));
                assert_eq!(server.post(&body).await.status(), 201);
            }
            _ => {
                let export = Export::of(&server, "/api/v1/orders?customer_id=ann").await;
                for order in export.orders() {
                    assert_eq!(order["customer_id"], "ann");
                    assert_ne!(order["metadata"], json!({}));
                }
            }
        }
    }
}

async fn updates_creates_replays_and_exports_during_erasures_leave_nothing(database: Database) {
    let server = Arc::new(Server::start(&database, &[]).await);
    let mut random = Random::seeded();
    for round in 0..12 {
        let mut paths = Vec::new();
        for index in 0..20 {
            let body = personal_order("ann", &format!("{round}-{index}"));
            let created = server
                .post_with_key(&format!("key-{round}-{index}"), &body)
                .await;
            paths.push(order_path(&created.json()));
        }
        let paths = Arc::new(paths);
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let seed = random.below(1 << 30);
                tokio::spawn(disturb(
                    Arc::clone(&server),
                    seed,
                    Arc::clone(&paths),
                    round,
                ))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(random.below(10))).await;
        let first = request(&server, "ann").await;
        for task in tasks {
            task.await.unwrap();
        }
        done(&server, &first).await;
        // Updates after the erasure of their order have written new metadata. Those before it are erased.
        for path in paths.iter() {
            let order: Value = server.get(path).await.json();
            assert_ne!(order["customer_id"], "ann");
            let events = events_of(&server, path).await;
            let erased = events
                .iter()
                .position(|event| event["type"] == "order.erased")
                .unwrap();
            for event in &events[..=erased] {
                assert_eq!(event["data"]["metadata"], json!({}), "{event}");
                assert_eq!(event["data"]["external_id"], Value::Null);
            }
            for event in &events {
                assert_eq!(event["data"]["customer_id"], order["customer_id"]);
            }
        }
    }
    // Orders that were created during an erasure.
    erase(&server, "ann").await;
    assert_eq!(orders_of(&server, "ann").await, Vec::<Value>::new());
    let left = "SELECT count(*) FROM events WHERE CAST(data AS text) LIKE '%\"ann\"%'";
    assert_eq!(database.number(left).await, 0);
    expect_consistent(&database).await;
}

async fn two_processes_erase_each_order_once(database: Database) {
    let servers = [
        Server::start(&database, &[]).await,
        Server::start(&database, &[]).await,
    ];
    let mut paths = Vec::new();
    for customer in 0..8 {
        for i in 0..25 {
            let body = personal_order(&format!("customer-{customer}"), &format!("{customer}-{i}"));
            assert_eq!(servers[0].post(&body).await.status(), 201);
        }
    }
    for customer in 0..8 {
        // Both are requested to erase the same customers, and both wake their tasks.
        let customer = format!("customer-{customer}");
        let (a, b) = tokio::join!(
            request(&servers[0], &customer),
            request(&servers[1], &customer)
        );
        paths.extend([a, b]);
    }
    for path in &paths {
        done(&servers[0], path).await;
    }
    assert_eq!(
        database
            .number("SELECT CAST(sum(orders) AS bigint) FROM erasures")
            .await,
        200
    );
    assert_eq!(
        database
            .number("SELECT count(*) FROM events WHERE event_type = 'erased'")
            .await,
        200
    );
    expect_consistent(&database).await;
    // A lease that another process has taken stops an erasure.
    eventually("no erasure is left", Duration::from_secs(20), async || {
        servers[1].metric::<f64>("erasure_oldest_seconds").await == 0.0
    })
    .await;
}
