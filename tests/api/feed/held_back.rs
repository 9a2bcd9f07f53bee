//! Open transactions hold events back: the lag of the feed measures it, and the runbook finds the cause.

use std::time::Duration;

use crate::events::read_events;
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::eventually;
use crate::support::server::Server;

#[tokio::test]
async fn an_open_transaction_raises_the_lag_of_the_feed_until_it_ends() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let lag = async || server.metric::<f64>("feed_lag_seconds").await;
    // An open transaction with an id holds back the events of later ones.
    let open = database.begin("SELECT pg_current_xact_id()").await;
    server.create("held back").await;
    assert_eq!(read_events(&server, "/api/v1/events").await.len(), 0);
    eventually("the lag grows", Duration::from_secs(15), async || {
        lag().await > 3.0
    })
    .await;
    open.batch_execute("COMMIT").await.unwrap();
    eventually("the event arrives", Duration::from_secs(30), async || {
        read_events(&server, "/api/v1/events").await.len() == 1
    })
    .await;
    eventually("the lag is gone", Duration::from_secs(15), async || {
        lag().await < 0.001
    })
    .await;
}

#[tokio::test]
async fn a_lag_that_cannot_be_measured_is_nan_and_counted() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[("STATEMENT_TIMEOUT", "500ms")]).await;
    server.create("first").await;
    let lag = async || server.metric::<f64>("feed_lag_seconds").await;
    let failures = async || server.metric::<u64>("feed_lag_failures_total").await;
    eventually("the lag is known", Duration::from_secs(15), async || {
        lag().await < 0.001
    })
    .await;
    let before = failures().await;
    let lock = database
        .begin("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .await;
    eventually("the lag is unknown", Duration::from_secs(15), async || {
        lag().await.is_nan() && failures().await > before
    })
    .await;
    lock.batch_execute("COMMIT").await.unwrap();
    eventually(
        "the lag is known again",
        Duration::from_secs(15),
        async || lag().await < 0.001,
    )
    .await;
}

/// Whether the event of a new order is in the feed within a second.
async fn new_event_arrives(server: &Server) -> bool {
    let count = read_events(server, "/api/v1/events").await.len();
    server.create("sku").await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if read_events(server, "/api/v1/events").await.len() > count {
            return true;
        }
    }
    false
}

/// docs/API.md and docs/OPERATIONS.md state this, and the query of the runbook finds the transactions.
#[tokio::test]
async fn only_transactions_that_write_in_any_database_of_the_cluster_hold_events_back() {
    let cluster = Cluster::start();
    let system = connect(&cluster.url).await;
    for setting in [
        "max_prepared_transactions = 2",
        "wal_level = logical",
        "autovacuum = off",
    ] {
        let sql = format!("ALTER SYSTEM SET {setting}");
        system.batch_execute(&sql).await.unwrap();
    }
    drop(system);
    cluster.shut_down();
    cluster.start_again();
    let database = cluster.database().await;
    let server = Server::start(&database, &[]).await;
    let other = connect(&cluster.url).await;
    let run = async |sql: &str| other.batch_execute(sql).await.unwrap();

    // A dump and an unread replication slot have a snapshot and no transaction id.
    run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM pg_class").await;
    assert!(new_event_arrives(&server).await);
    run("COMMIT").await;
    run("SELECT pg_create_physical_replication_slot('idle', true)").await;
    run("SELECT pg_create_logical_replication_slot('unread', 'test_decoding')").await;
    assert!(new_event_arrives(&server).await);
    // A transaction of another database that has written.
    run("BEGIN; CREATE TABLE elsewhere ()").await;
    assert!(!new_event_arrives(&server).await);
    let runbook = include_str!("../../../docs/OPERATIONS.md");
    let (_, alert) = runbook
        .split_once("### OrderServiceEventFeedLag\n")
        .unwrap();
    let (_, sql) = alert.split_once("```sql\n").unwrap();
    let sql = sql.split("```").next().unwrap();
    let found = async || {
        let rows = database.client().await.simple_query(sql).await.unwrap();
        let rows = rows.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
            _ => None,
        });
        rows.collect::<Vec<_>>()
    };
    let pid = other
        .query_one("SELECT pg_backend_pid()::text", &[])
        .await
        .unwrap();
    assert_eq!(found().await, [format!("pid {}", pid.get::<_, String>(0))]);
    run("COMMIT").await;
    assert!(new_event_arrives(&server).await);
    run("BEGIN; DROP TABLE elsewhere; PREPARE TRANSACTION 'forgotten'").await;
    assert!(!new_event_arrives(&server).await);
    assert_eq!(found().await, ["prepared forgotten"]);
    run("ROLLBACK PREPARED 'forgotten'").await;
    assert!(new_event_arrives(&server).await);
    assert_eq!(found().await, Vec::<String>::new());
    run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await;
}
