//! A killed process leaves complete orders or none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::orders::{order, order_path};
use crate::support::server::Server;

crate::on_both!(after_sigkill_orders_are_complete_or_absent_and_retries_create_the_rest);

async fn after_sigkill_orders_are_complete_or_absent_and_retries_create_the_rest(
    database: Database,
) {
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
        // A random point between accepting the requests and sending the responses.
        let moment = u64::try_from(Uuid::new_v4().as_u128() % 12).unwrap();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        server.signal(libc::SIGKILL);
        for task in tasks {
            let (key, response) = task.await.unwrap();
            let body = response
                .ok()
                .filter(|response| response.status() == 201)
                .map(|a| a.text());
            expected.insert(key, body);
        }
    }
    let orders = database.count("orders").await;
    assert_eq!(
        database.count("events").await,
        orders,
        "each order has its event"
    );
    let confirmed = expected.values().flatten().count();
    assert!(
        usize::try_from(orders).unwrap() >= confirmed,
        "no order with a response is lost"
    );

    let server = Server::start(&database, &[]).await;
    for (key, body) in &expected {
        let retry = server.post_with_key(key, &order("sku-1")).await;
        assert_eq!(retry.status(), 201);
        if let Some(body) = body {
            assert_eq!(retry.text(), *body);
        }
        let events = format!("{}/events", order_path(&retry.json()));
        assert_eq!(server.get(&events).await.json::<Vec<Value>>().len(), 1);
    }
    let rows = i64::try_from(expected.len()).unwrap();
    assert_eq!(database.count("orders").await, rows);
    assert_eq!(database.count("events").await, rows);
}
