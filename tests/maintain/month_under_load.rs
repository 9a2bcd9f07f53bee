//! Events are removed while clients read and write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;
use crate::{maintain, report};

/// The number of events in the month.
const EVENTS: i64 = 200_000;
const WRITERS: usize = 8;
const READERS: usize = 4;
/// The limit for a request, on a machine that is not busy otherwise.
const SLOWEST: Duration = Duration::from_millis(250);
/// The limit for the statement that others wait for, with its own wait of 75 ms.
const LONGEST_LOCK: f64 = 250.0;

/// Repeats requests until `stop` is set. Returns how long each took.
async fn repeat<F: Future<Output = ()>>(
    stop: Arc<AtomicBool>,
    mut request: impl FnMut() -> F,
) -> Vec<(Instant, Duration)> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        request().await;
        times.push((start, start.elapsed()));
    }
    times
}

async fn write(server: &Server) {
    let order = server.create("sku-1").await;
    let path = order_path(&order);
    let response = server.patch(&path, &json!({"status": "confirmed"})).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_waits_for_the_removal_of_a_month() {
    let cluster = Cluster::start_with(&[("POSTGRES_CONF", "log_min_duration_statement = 0")]);
    let database = cluster.database().await;
    let server = Arc::new(Server::start(&database, &[("WORKERS", "1")]).await);
    database
        .execute(&format!(
            "CREATE TABLE events_2020_01 PARTITION OF events FOR VALUES FROM ('2020-01-01+00') TO ('2020-02-01+00');
            INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, recorded_at,
                data, data_bytes)
            SELECT 'tenant-' || i % 2000, 'created', 'api_key', gen_random_uuid(), 1,
                pg_current_xact_id()::text::bigint, now(), '2020-01-15', to_json(repeat('x', 400)), 402
            FROM generate_series(1, {EVENTS}) AS i;
            CHECKPOINT"
        ))
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..WRITERS {
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        tasks.push(tokio::spawn(async move {
            repeat(stop, || write(&server)).await
        }));
    }
    for _ in 0..READERS {
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        tasks.push(tokio::spawn(async move {
            let mut link = server.get("/api/v1/events").await.next_link().unwrap();
            let mut last: Option<String> = None;
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                let page = server.get(&link).await;
                times.push((start, start.elapsed()));
                assert_eq!(page.status(), 200, "{page:?}");
                link = page.next_link().unwrap();
                last = page
                    .json::<Vec<Value>>()
                    .pop()
                    .map(|event| event["id"].to_string())
                    .or(last);
            }
            assert!(last.is_some(), "the reader has received events");
            times
        }));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    let url = database.url();
    let out = tokio::task::spawn_blocking(move || {
        let retention = [("DATABASE_URL", url.as_str()), ("EVENT_RETENTION", "90d")];
        crate::support::binary::run(&["maintain"], &retention)
    })
    .await
    .unwrap();
    let ended = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(
        report(&out)["partitions_removed"],
        json!(["events_2020_01"])
    );
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let slowest = |from: Instant, to: Instant| {
        let during = times
            .iter()
            .filter(|(start, time)| *start < to && *start + *time > from);
        (
            during.clone().count(),
            during.map(|(_, time)| *time).max().unwrap_or_default(),
        )
    };
    let before = slowest(begun - Duration::from_secs(2), begun);
    let during = slowest(begun, ended);
    eprintln!(
        "{EVENTS} events of a month removed in {:?}; requests before: {before:?}, during: {during:?}",
        ended - begun
    );
    // Each attempt, with its wait for the lock.
    let log = cluster.log();
    let attempts = log
        .lines()
        .filter(|line| line.contains("LOCK TABLE events_2020_01"));
    let milliseconds = |line: &str| -> Option<f64> {
        let (_, rest) = line.split_once("duration: ")?;
        rest.split(' ').next()?.parse().ok()
    };
    let attempts: Vec<f64> = attempts.filter_map(milliseconds).collect();
    eprintln!("the partition was detached in {attempts:?} ms");
    assert!(!attempts.is_empty() && attempts.iter().all(|ms| *ms < LONGEST_LOCK));
    // Other programs may slow all requests down, also those before.
    assert!(during.1 < SLOWEST.max(before.1 * 2), "{during:?}");
    // Nothing is left for a vacuum.
    let dead = database
        .number("SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE relname ~ '^events_20'")
        .await;
    assert_eq!(dead, 0);
    let again = maintain(&database, &[("EVENT_RETENTION", "90d")], &[]);
    assert_eq!(report(&again)["partitions_removed"], json!([]));
}

/// SQLite has one writer at a time. Maintenance leaves it to the service in its pauses.
#[tokio::test]
async fn requests_proceed_while_events_are_removed_from_sqlite() {
    let database = Database::sqlite();
    let server = Server::start(&database, &[]).await;
    database
        .execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
            INSERT INTO events (tenant, event_type, authtype, order_id, version, occurred_at, recorded_at, data, data_bytes)
            SELECT 'tenant-' || i % 100, 'created', 'api_key', randomblob(16), 1, 0, 0, json_quote(hex(zeroblob(200))), 402
            FROM n",
        )
        .await;
    let process = crate::spawn(&database, &[("EVENT_RETENTION", "90d")], &[]);
    let out = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    tokio::pin!(out);
    let mut times = Vec::new();
    let out = loop {
        let start = Instant::now();
        let write = write(&server);
        tokio::select! {
            out = &mut out => break out.unwrap(),
            () = write => times.push(start.elapsed()),
        }
    };
    assert_eq!(report(&out)["events_removed"], 30_000);
    let slowest = times.iter().max().unwrap();
    eprintln!(
        "{} orders were created and updated meanwhile, the slowest in {slowest:?}",
        times.len()
    );
    assert!(
        times.len() > 20 && *slowest < Duration::from_secs(1),
        "{slowest:?}"
    );
}
