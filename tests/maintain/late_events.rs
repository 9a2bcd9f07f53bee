//! Transactions that write into a month while it is removed, or around its end (PostgreSQL).

use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Client;

use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::Server;
use crate::{create_old_partition, maintained, record_days_ago, report, spawn};

const RETENTION: [(&str, &str); 1] = [("EVENT_RETENTION", "90d")];
const OLD: i64 = 150;

/// SQL that inserts an event of the default tenant, which was recorded so many days ago.
fn insert(days: i64, position: &str) -> String {
    format!(
        "INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, recorded_at, data,
            data_bytes) VALUES ('default', 'created', 'api_key', gen_random_uuid(), 1, {position}, now(),
            now() - interval '{days} days', '{{}}', 2)"
    )
}

const POSITION: &str = "(SELECT pg_current_xact_id()::text::bigint + xid_offset FROM feed)";

async fn old_partition(database: &Database) -> String {
    let client = database.client().await;
    let sql = format!(
        "SELECT 'events_' || to_char((now() - interval '{OLD} days') AT TIME ZONE 'UTC', 'YYYY_MM')"
    );
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

/// A database with some events in an old month.
async fn with_old_events() -> (Database, Server) {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    create_old_partition(&database, OLD).await;
    for i in 1..=3 {
        server.create(&format!("sku-{i}")).await;
    }
    record_days_ago(&database, OLD, "true").await;
    (database, server)
}

#[tokio::test]
async fn a_month_stays_while_a_transaction_below_its_last_event_runs() {
    // All transactions of a cluster count, and this one would delay the other tests.
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let server = Server::start(&database, &[]).await;
    create_old_partition(&database, OLD).await;
    // It has an id, and could write an event with this position.
    let open = database.begin("SELECT pg_current_xact_id()").await;
    server.create("sku-1").await;
    record_days_ago(&database, OLD, "true").await;
    let report = maintained(&database, &RETENTION);
    assert_eq!(report["partitions_removed"], Value::Array(vec![]));
    assert_eq!(
        report["postponed"][0]["partition"],
        old_partition(&database).await
    );
    assert_eq!(database.count("feed_floors").await, 0);
    open.batch_execute(&format!("{}; COMMIT", insert(0, POSITION)))
        .await
        .unwrap();
    let report = maintained(&database, &RETENTION);
    assert_eq!(report["partitions_removed"].as_array().unwrap().len(), 1);
}

/// The last floor that is known.
async fn floor(client: &Client) -> Option<i64> {
    let rows = client.query("SELECT max(seq) FROM feed_floors", &[]).await;
    rows.unwrap()[0].get(0)
}

#[tokio::test]
async fn an_event_that_is_added_after_the_floors_were_raised_is_not_lost_silently() {
    let (database, server) = with_old_events().await;
    let client = database.client().await;
    // Delays the attempts to detach the partition.
    let reader = database.begin("SELECT count(*) FROM events").await;
    let process = spawn(&database, &RETENTION, &[]);
    eventually("the floor is raised", Duration::from_secs(10), async || {
        floor(&client).await.is_some()
    })
    .await;
    let first = floor(&client).await;
    let end = server.get("/api/v1/events").await.next_link().unwrap();
    // A transaction that began in that month.
    client.batch_execute(&insert(OLD, POSITION)).await.unwrap();
    reader.batch_execute("COMMIT").await.unwrap();
    let out = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    let report = report(&out.await.unwrap());
    assert_eq!(report["partitions_removed"].as_array().unwrap().len(), 1);
    assert_eq!(database.count("events").await, 0);
    assert!(
        floor(&client).await > first,
        "the floor covers the late event"
    );
    // A reader that has not seen it learns that.
    assert_eq!(server.status(&end).await, 410);
}

#[tokio::test]
async fn an_event_before_the_floor_in_a_later_month_is_removed_as_well() {
    let (database, server) = with_old_events().await;
    // Its transaction began in the next month, but has an earlier position than the last event of the old month.
    let early = "(SELECT min(position) FROM events)";
    database.execute(&insert(0, early)).await;
    server.create("rest").await;
    maintained(&database, &RETENTION);
    assert_eq!(database.count("events").await, 1);
    let events = server.get("/api/v1/events").await;
    assert_eq!(events.status(), 200, "{events:?}");
    assert_eq!(events.json::<Vec<Value>>()[0]["data"]["product_id"], "rest");
}
