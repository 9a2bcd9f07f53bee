//! Reads while lines are replaced: a read sees one version of an order, never the lines of two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::create;
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(every_read_returns_the_lines_and_the_total_of_one_version);

/// `count` lines, each with this amount, so that the total is its square.
fn lines(count: i64) -> Value {
    let line = |number| {
        let product = if number == 1 {
            "shared".to_owned()
        } else {
            format!("p{number}")
        };
        json!({"product_id": product, "quantity": 1, "unit_amount": count})
    };
    (1..=count).map(line).collect()
}

/// Panics unless the lines and the total of an order belong together.
fn check(order: &Value) {
    let items = order["items"].as_array().unwrap();
    let count = i64::try_from(items.len()).unwrap();
    assert_eq!(order["items"], lines(count), "{order}");
    assert_eq!(order["total_amount"], count * count, "{order}");
}

async fn every_read_returns_the_lines_and_the_total_of_one_version(database: Database) {
    // Two processes, so that updates also meet in the database.
    let servers = [
        Arc::new(Server::start(&database, &[]).await),
        Arc::new(Server::start(&database, &[]).await),
    ];
    let order = create(&servers[0], &json!({"items": lines(1), "currency": "EUR"})).await;
    let path = order_path(&order);
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .zip(servers.iter().cycle())
        .map(|(number, server)| {
            let (server, path, done) = (Arc::clone(server), path.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut written = 0;
                for count in (1..).map(|step: i64| 1 + (7 * step + number) % 30) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let response = server.patch(&path, &json!({"items": lines(count)})).await;
                    assert_eq!(response.status(), 200, "{response:?}");
                    check(&response.json());
                    written += 1;
                }
                written
            })
        })
        .collect();
    let readers: Vec<_> = [
        path.as_str(),
        "/api/v1/orders",
        "/api/v1/orders?product_id=shared&status=pending",
    ]
    .into_iter()
    .flat_map(|target| {
        servers
            .iter()
            .map(move |server| (Arc::clone(server), target.to_owned()))
    })
    .map(|(server, target)| {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                match server.get(&target).await.json::<Value>() {
                    Value::Array(orders) => {
                        assert_eq!(orders.len(), 1, "{orders:?}");
                        check(&orders[0]);
                    }
                    order => check(&order),
                }
                reads += 1;
            }
            reads
        })
    })
    .collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    done.store(true, Ordering::Relaxed);
    let (mut written, mut reads) = (0, 0);
    for writer in writers {
        written += writer.await.unwrap();
    }
    for reader in readers {
        reads += reader.await.unwrap();
    }
    assert!(
        written > 20 && reads > 20,
        "{written} updates, {reads} reads"
    );
    let events: Vec<Value> = servers[0].get(&format!("{path}/events")).await.json();
    events.iter().for_each(|event| check(&event["data"]));
    let last: Value = servers[0].get(&path).await.json();
    let stored = last["items"].as_array().unwrap().len();
    assert_eq!(
        usize::try_from(database.count("order_items").await),
        Ok(stored)
    );
}
