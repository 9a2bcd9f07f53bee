//! A process that is killed in the middle leaves whole orders or nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::server::{Server, order};

crate::on_both!(sigkill_leaves_whole_orders_and_retries_complete_the_rest);

async fn sigkill_leaves_whole_orders_and_retries_complete_the_rest(database: Database) {
    let mut expected: HashMap<String, Option<String>> = HashMap::new();
    for round in 0..6_u64 {
        let server = Arc::new(Server::start(&database, &[]).await);
        let tasks: Vec<_> = (0..40)
            .map(|i| {
                let key = format!("{round}-{i}");
                let request = server.client.post(server.url("/api/v1/orders"));
                let request = request
                    .header("idempotency-key", &key)
                    .json(&order("sku-1"));
                tokio::spawn(async move { (key, request.send().await) })
            })
            .collect();
        // Somewhere between accepting, writing, committing and answering.
        let moment = u64::try_from(Uuid::new_v4().as_u128() % 12).unwrap();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        server.signal(libc::SIGKILL);
        for task in tasks {
            let (key, answer) = task.await.unwrap();
            let body = answer
                .ok()
                .filter(|answer| answer.status() == 201)
                .map(|a| a.text());
            expected.insert(key, body);
        }
    }
    let orders = database.number("SELECT count(*) FROM orders").await;
    assert_eq!(
        database.number("SELECT count(*) FROM events").await,
        orders,
        "whole or nothing"
    );
    let answered = expected.values().flatten().count();
    assert!(
        usize::try_from(orders).unwrap() >= answered,
        "nothing that was answered is lost"
    );

    let server = Server::start(&database, &[]).await;
    for (key, body) in &expected {
        let request = server.client.post(server.url("/api/v1/orders"));
        let retry = request.header("idempotency-key", key).json(&order("sku-1"));
        let retry = retry.send().await.unwrap();
        assert_eq!(retry.status(), 201);
        if let Some(body) = body {
            assert_eq!(retry.text(), *body);
        }
        let id = retry.json::<Value>()["id"].as_str().unwrap().to_owned();
        let events = format!("/api/v1/orders/{id}/events");
        assert_eq!(server.get(&events).await.json::<Vec<Value>>().len(), 1);
    }
    let rows = i64::try_from(expected.len()).unwrap();
    assert_eq!(database.number("SELECT count(*) FROM orders").await, rows);
    assert_eq!(database.number("SELECT count(*) FROM events").await, rows);
}
