//! Partitions are created in time, and nothing that maintenance does stops writers.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::Server;
use crate::{maintained, spawn};

/// The schema as SQL.
fn dump(database: &Database) -> String {
    let out = Command::new("sh")
        .args([
            "-c",
            "pg_dump --schema-only \"$0\" | grep -vE '^.(un)?restrict '",
            &database.url(),
        ])
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// The names of the partitions of this month and the next three.
async fn expected_partitions(database: &Database) -> Vec<String> {
    let rows = database
        .client()
        .await
        .query(
            "SELECT 'events_' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + i * interval '1 month',
                'YYYY_MM') FROM generate_series(0, 3) AS i",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn partition_count(database: &Database) -> i64 {
    database
        .count("pg_inherits WHERE inhparent = 'events'::regclass")
        .await
}

#[tokio::test]
async fn maintenance_creates_the_same_partitions_as_the_migration() {
    let database = Database::postgres().await;
    migrate(&database);
    let by_migration = dump(&database);
    assert_eq!(
        maintained(&database, &[])["partitions_created"],
        Value::Array(vec![])
    );
    let expected = expected_partitions(&database).await;
    for (i, name) in expected.iter().enumerate() {
        assert!(by_migration.contains(name), "{name}");
        database.execute(&format!("DROP TABLE {name}")).await;
        // What an interrupted run leaves.
        if i == 1 {
            let create = format!("CREATE TABLE {name} (LIKE events INCLUDING ALL)");
            database.execute(&create).await;
        }
    }
    let report = maintained(&database, &[]);
    assert_eq!(report["partitions_created"], serde_json::json!(expected));
    assert_eq!(dump(&database), by_migration);
}

#[tokio::test]
async fn a_migration_creates_the_partitions_as_well() {
    let database = Database::postgres().await;
    migrate(&database);
    let expected = expected_partitions(&database).await;
    database
        .execute(&format!("DROP TABLE {}", expected[3]))
        .await;
    migrate(&database);
    assert_eq!(partition_count(&database).await, 5);
}

#[tokio::test]
async fn a_table_with_rows_is_not_attached() {
    let database = Database::postgres().await;
    migrate(&database);
    let name = &expected_partitions(&database).await[3];
    database
        .execute(&format!(
            "ALTER TABLE events DETACH PARTITION {name};
            INSERT INTO {name} (tenant, event_type, authtype, order_id, version, position, occurred_at, recorded_at, data,
                data_bytes) VALUES ('default', 'created', 'api_key', gen_random_uuid(), 1, 1, now(),
                date_trunc('month', now()) + interval '3 months 1 day', '{{}}', 2)"
        ))
        .await;
    let report = maintained(&database, &[]);
    assert_eq!(report["partitions_created"], Value::Array(vec![]));
    assert_eq!(report["postponed"][0]["partition"], name.as_str());
    assert_eq!(database.count(name).await, 1);
}

/// Events of the default partition, enough that PostgreSQL must not read them while writers wait.
async fn fill_default(database: &Database, times: &str) {
    let sql = format!(
        "INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, recorded_at, data,
            data_bytes)
        SELECT 'default', 'created', 'api_key', gen_random_uuid(), 1, pg_current_xact_id()::text::bigint, now(), {times},
            to_json(repeat('x', 300)), 302 FROM generate_series(1, 20000) AS i"
    );
    database.execute(&sql).await;
}

#[tokio::test]
async fn a_default_partition_with_rows_is_not_read_under_a_lock() {
    let database = Database::postgres().await;
    migrate(&database);
    let expected = expected_partitions(&database).await;
    database
        .execute(&format!("DROP TABLE {}", expected.join(", ")))
        .await;
    fill_default(&database, "now() - i * interval '3 minutes'").await;
    let server = Server::start(&database, &[("MIGRATE_ON_START", "false")]).await;
    let process = spawn(&database, &[], &[]);
    let mut slowest = Duration::ZERO;
    let writer = async {
        loop {
            let start = Instant::now();
            server.create("sku-1").await;
            slowest = slowest.max(start.elapsed());
        }
    };
    let report = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    let out = tokio::select! {
        out = report => out.unwrap(),
        () = writer => unreachable!(),
    };
    let report = crate::report(&out);
    let created = report["partitions_created"].as_array().unwrap();
    // This month stays in the default partition, and the next one if it begins soon.
    assert!((2..=3).contains(&created.len()), "{report}");
    assert!(created.iter().all(|name| *name != expected[0]), "{report}");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    let constraints = "pg_constraint WHERE conname = 'events_default_before'";
    assert_eq!(database.count(constraints).await, 0);
    // The rows of this month stay readable, and new ones reach the default partition.
    let before = database.count("events_default").await;
    server.create("sku-1").await;
    assert_eq!(database.count("events_default").await, before + 1);
}

#[tokio::test]
async fn the_constraint_of_a_killed_run_is_removed() {
    let database = Database::postgres().await;
    migrate(&database);
    database
        .execute(
            "ALTER TABLE events_default ADD CONSTRAINT events_default_before
                CHECK (recorded_at < '2020-01-01') NOT VALID",
        )
        .await;
    maintained(&database, &[]);
    let constraints = "pg_constraint WHERE conname = 'events_default_before'";
    assert_eq!(database.count(constraints).await, 0);
}

/// The gauge of a service that starts now.
async fn partitions_ahead(database: &Database) -> f64 {
    let server = Server::start(database, &[("MIGRATE_ON_START", "false")]).await;
    let gauge = async || server.metric::<f64>("event_partitions_ahead_seconds").await;
    eventually(
        "the gauge is measured",
        Duration::from_secs(10),
        async || !gauge().await.is_nan(),
    )
    .await;
    // Writes succeed however many partitions there are.
    server.create("sku-1").await;
    gauge().await
}

#[tokio::test]
async fn the_gauge_shows_for_how_long_partitions_exist() {
    let database = Database::postgres().await;
    migrate(&database);
    let expected = expected_partitions(&database).await;
    let days = |seconds: f64| seconds / 86_400.0;
    let all = days(partitions_ahead(&database).await);
    assert!((89.0..=124.0).contains(&all), "{all}");
    // A gap counts as the end.
    database
        .execute(&format!("DROP TABLE {}", expected[1]))
        .await;
    let one = days(partitions_ahead(&database).await);
    assert!((0.0..=31.0).contains(&one), "{one}");
    database
        .execute(&format!("DROP TABLE {}", expected[0]))
        .await;
    assert!(partitions_ahead(&database).await.abs() < 1e-9);
    maintained(&database, &[]);
    // The event that was written meanwhile is in the default partition, so this month has no partition.
    assert!(partitions_ahead(&database).await.abs() < 1e-9);
}

#[tokio::test]
async fn on_sqlite_partitions_never_run_out() {
    let server = Server::on_sqlite(&[]).await;
    let gauge: f64 = server.metric("event_partitions_ahead_seconds").await;
    assert!(gauge.is_infinite() && gauge > 0.0);
}

#[tokio::test]
async fn a_gauge_that_cannot_be_measured_is_nan() {
    let database = Database::postgres().await;
    migrate(&database);
    let _lock = database
        .begin("LOCK TABLE pg_inherits IN ACCESS EXCLUSIVE MODE")
        .await;
    let server = Server::start(
        &database,
        &[
            ("MIGRATE_ON_START", "false"),
            ("STATEMENT_TIMEOUT", "300ms"),
        ],
    )
    .await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(
        server
            .metric::<f64>("event_partitions_ahead_seconds")
            .await
            .is_nan()
    );
}

/// A reader that holds its lock for longer than maintenance waits delays maintenance, not the writers.
#[tokio::test]
async fn writers_do_not_wait_for_a_lock_that_maintenance_waits_for() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let old = "events_2020_01";
    database
        .execute(&format!(
            "CREATE TABLE {old} PARTITION OF events FOR VALUES FROM ('2020-01-01+00') TO ('2020-02-01+00')"
        ))
        .await;
    let reader = database.begin("SELECT count(*) FROM events").await;
    let process = spawn(&database, &[("EVENT_RETENTION", "90d")], &[]);
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(4) {
        let start = Instant::now();
        server.create("sku-1").await;
        times.push(start.elapsed());
    }
    assert_eq!(
        database
            .count(&format!("pg_class WHERE relname = '{old}'"))
            .await,
        1
    );
    reader.batch_execute("COMMIT").await.unwrap();
    let out = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    let report = crate::report(&out.await.unwrap());
    assert_eq!(report["partitions_removed"], serde_json::json!([old]));
    let slowest = times.iter().max().unwrap();
    eprintln!("{} requests, the slowest took {slowest:?}", times.len());
    assert!(*slowest < Duration::from_millis(250), "{slowest:?}");
}

#[tokio::test]
async fn a_partition_that_a_killed_run_has_detached_is_dropped() {
    let database = Database::postgres().await;
    migrate(&database);
    database
        .execute(
            "CREATE TABLE events_2020_01 (LIKE events INCLUDING ALL);
            COMMENT ON TABLE events_2020_01 IS 'order-service maintain: detached by EVENT_RETENTION, to be dropped';
            CREATE TABLE events_2020_02 (LIKE events INCLUDING ALL)",
        )
        .await;
    let report = maintained(&database, &[("EVENT_RETENTION", "90d")]);
    assert_eq!(
        report["partitions_removed"],
        serde_json::json!(["events_2020_01"])
    );
    // A table that maintenance has not detached stays.
    assert_eq!(database.count("events_2020_02").await, 0);
}
