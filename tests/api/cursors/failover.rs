//! A standby takes over, with and without the last events.

use std::time::Duration;

use serde_json::Value;

use super::{cursor, expect_continues, expect_expired, last_id_at_end, link_at_end};
use crate::events::{confirm, read_events};
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::orders::order_id;
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_continue_after_a_switchover_that_loses_nothing() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let server = Server::start(&database, &[]).await;
    let standby = cluster.standby();
    let mut last = Value::Null;
    for i in 0..5 {
        last = server.create(&format!("sku-{i}")).await;
    }
    confirm(&server, order_id(&last)).await;
    let end = link_at_end(&server, 6).await;
    drop(server);
    // An orderly shutdown sends every record to the standby.
    cluster.shut_down();
    standby.promote();
    let database = database.in_copy(&standby);
    let server = Server::start(&database, &[]).await;
    expect_continues(&server, &end).await;
}

/// Stops a standby from receiving records.
async fn stop_receiving(standby: &Cluster) {
    let client = connect(&standby.url).await;
    client
        .batch_execute("ALTER SYSTEM SET primary_conninfo = ''")
        .await
        .unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    eventually(
        "no WAL receiver runs",
        Duration::from_secs(10),
        async || {
            let row = client.query_one("SELECT count(*) FROM pg_stat_wal_receiver", &[]);
            row.await.unwrap().get::<_, i64>(0) == 0
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_an_event_that_a_failover_lost_expires() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let urls = tempfile::tempdir().unwrap();
    let file = urls.path().join("url");
    std::fs::write(&file, database.url()).unwrap();
    let variables = [
        ("DATABASE_URL_FILE", file.to_str().unwrap()),
        ("POOL_MAX_LIFETIME", "1s"),
    ];
    let server = Server::start(&database, &variables).await;
    let kept = server.create("kept").await;
    let behind_kept = link_at_end(&server, 1).await;
    let standby = cluster.standby();
    let standby_database = database.in_copy(&standby);
    eventually(
        "the standby has the event",
        Duration::from_secs(10),
        async || standby_database.count("events").await == 1,
    )
    .await;
    stop_receiving(&standby).await;
    for i in 0..3 {
        server.create(&format!("lost-{i}")).await;
    }
    let behind_lost = link_at_end(&server, 4).await;
    let mut stream = EventStream::open(&server, Some(cursor(&behind_kept))).await;
    for i in 0..3 {
        let event = stream.next().await.unwrap();
        assert_eq!(event.data["data"]["product_id"], format!("lost-{i}"));
    }

    // An asynchronous failover, while the stream is open.
    cluster.crash();
    standby.promote();
    let database = database.in_copy(&standby);
    std::fs::write(&file, database.url()).unwrap();
    assert_eq!(last_id_at_end(&mut stream).await, cursor(&behind_lost));
    eventually("it is ready again", Duration::from_secs(10), async || {
        server.status("/readyz").await == 200
    })
    .await;
    let oldest = expect_expired(&server, &behind_lost).await;

    // The new history grows beyond the position of the expired cursor: still no silent gap.
    let mut orders = vec![kept];
    for i in 0..20 {
        orders.push(server.create(&format!("new-{i}")).await);
    }
    expect_expired(&server, &behind_lost).await;
    let orders_in = |events: Vec<Value>| -> Vec<Value> {
        events.iter().map(|event| event["data"].clone()).collect()
    };
    assert_eq!(orders_in(read_events(&server, &oldest).await), orders);
    assert_eq!(
        orders_in(read_events(&server, &behind_kept).await),
        orders[1..]
    );
}

#[tokio::test]
async fn a_stream_of_an_empty_feed_gets_the_older_events_of_the_next_database() {
    let (empty, next) = (Database::postgres().await, Database::postgres().await);
    let server = Server::start(&next, &[]).await;
    for i in 0..3 {
        server.create(&format!("older-{i}")).await;
    }
    drop(server);
    let urls = tempfile::tempdir().unwrap();
    let file = urls.path().join("url");
    std::fs::write(&file, empty.url()).unwrap();
    let variables = [
        ("DATABASE_URL_FILE", file.to_str().unwrap()),
        ("POOL_MAX_LIFETIME", "1s"),
    ];
    let server = Server::start(&empty, &variables).await;
    let mut stream = EventStream::open(&server, None).await;
    // The task at the head has read the empty feed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    std::fs::write(&file, next.url()).unwrap();
    eventually(
        "the database is switched",
        Duration::from_secs(20),
        async || {
            let page: Vec<Value> = server.get("/api/v1/events").await.json();
            page.len() == 3
        },
    )
    .await;
    server.create("new").await;
    for product in ["older-0", "older-1", "older-2", "new"] {
        let event = stream.next().await.unwrap();
        assert_eq!(event.data["data"]["product_id"], product);
    }
}
