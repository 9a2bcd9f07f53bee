//! Importing an export restores the same orders.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Input, assert_imported};
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::export::Export;
use crate::support::orders::{large_order, order, order_path};
use crate::support::random::Random;
use crate::support::server::Server;

crate::on_both!(
    an_imported_export_is_equal_byte_for_byte,
    an_export_of_one_database_is_imported_into_the_other
);

/// Creates orders of all kinds.
async fn create_orders(server: &Server) {
    let mut random = Random::seeded();
    let mut bodies = vec![
        order("\u{65e5}\u{672c} \u{1F600} \"quoted\\\""),
        large_order(50),
        json!({"product_id": "a", "quantity": 1_000_000, "unit_amount": 1_000_000_000, "currency": "JPY"}),
        json!({"product_id": "a", "quantity": 1, "metadata": {"\u{e9}": "\u{1}\n\u{7f}", "empty": ""}}),
        json!({"product_id": "a", "quantity": 1, "unit_amount": 0, "currency": "CLF"}),
    ];
    for n in 0..120 {
        let lines: Vec<_> = (0..=random.below(6))
            .map(|line| {
                json!({
                    "product_id": format!("sku-{}", random.below(20)),
                    "quantity": 1 + random.below(9),
                    "unit_amount": if line == 0 { 1_000_000 } else { -i64::try_from(random.below(9)).unwrap() },
                })
            })
            .collect();
        let mut body = json!({"items": lines, "currency": "EUR"});
        if random.below(2) == 0 {
            body["external_id"] = format!("shop-{n}").into();
        }
        if random.below(2) == 0 {
            body["customer_id"] = format!("customer-{}", random.below(9)).into();
        }
        bodies.push(body);
    }
    for body in bodies {
        let response = server.post(&body).await;
        assert_eq!(response.status(), 201, "{}", response.text());
        let path = order_path(&response.json());
        let patches = match random.below(6) {
            0 => vec![json!({"status": "cancelled"})],
            1 => vec![
                json!({"metadata": {"key-0": "changed"}}),
                json!({"status": "confirmed"}),
            ],
            2 => vec![json!({"status": "confirmed"}), json!({"status": "shipped"})],
            3 => ["confirmed", "shipped", "delivered"]
                .map(|status| json!({"status": status}))
                .to_vec(),
            _ => Vec::new(),
        };
        for patch in patches {
            assert_eq!(server.patch(&path, &patch).await.status(), 200);
        }
    }
}

async fn export(server: &Server) -> Vec<String> {
    Export::of(server, "/api/v1/orders").await.complete()
}

/// Imports an export into an empty database and exports it again.
async fn imports_restores_the_same_orders(from: &Database, to: &Database) {
    let source = Server::start(from, &[("MAX_BODY_BYTES", "1000000")]).await;
    create_orders(&source).await;
    let exported = export(&source).await;
    assert_eq!(exported.len(), 125);
    migrate(to);
    let input = Input::new(exported.join("\n") + "\n");
    let imported = input.import(to);
    assert_eq!((imported.code(), imported.counts()), (0, (125, 0, 0)));
    let target = Server::start(to, &[]).await;
    assert_eq!(export(&target).await, exported);
    // The filters find them, too: the rows of the lines and of the indexes are complete.
    for path in [
        "?status=delivered",
        "?product_id=sku-3",
        "?customer_id=customer-3",
        "?external_id=shop-7",
    ] {
        let path = format!("/api/v1/orders{path}");
        assert_eq!(
            target.get(&path).await.text(),
            source.get(&path).await.text()
        );
    }
    assert_imported(to, 125).await;
    // Each event has the order as its data, and the time of the import.
    let documents: HashMap<_, _> = exported
        .iter()
        .map(|text| {
            let order: Value = serde_json::from_str(text).unwrap();
            (order["id"].as_str().unwrap().to_owned(), (text, order))
        })
        .collect();
    // Events are read when no older transaction of the cluster runs, and tests in other databases have some.
    let page = async || -> Vec<Value> { target.get("/api/v1/events?limit=100").await.json() };
    eventually("a page of events", Duration::from_secs(30), async || {
        page().await.len() == 100
    })
    .await;
    for event in page().await {
        let (_, order) = &documents[event["subject"].as_str().unwrap()];
        assert_eq!(event["data"], *order);
        assert_eq!(event["type"], "order.imported");
        assert_eq!(event["authtype"], "system");
        assert_eq!(event["sequence"], order["version"].to_string());
        assert!(
            event["time"].as_str() > order["updated_at"].as_str(),
            "{event}"
        );
        assert!(event.get("authid").is_none());
    }
    // The order goes on where it was.
    let (_, open) = documents
        .values()
        .find(|(_, order)| order["status"] == "confirmed")
        .unwrap();
    let response = target
        .patch(&order_path(open), &json!({"status": "shipped"}))
        .await;
    let version = open["version"].as_i64().unwrap();
    assert_eq!(response.json::<Value>()["version"], version + 1);
    // A second import finds them all, also the one that has changed.
    let again = input.import(to);
    assert_eq!((again.code(), again.counts()), (0, (0, 125, 0)));
    assert_eq!(to.count("events").await, 126);
}

async fn an_imported_export_is_equal_byte_for_byte(database: Database) {
    let source = match &database {
        Database::Sqlite(_) => Database::sqlite(),
        Database::Postgres { .. } => Database::postgres().await,
    };
    imports_restores_the_same_orders(&source, &database).await;
}

async fn an_export_of_one_database_is_imported_into_the_other(database: Database) {
    let source = match &database {
        Database::Sqlite(_) => Database::postgres().await,
        Database::Postgres { .. } => Database::sqlite(),
    };
    imports_restores_the_same_orders(&source, &database).await;
}
