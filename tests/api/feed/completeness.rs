//! The feed under concurrent writers, restarts and slow readers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use crate::events::{confirm, feed};
use crate::lists::next;
use crate::support::database::{Cluster, Database};
use crate::support::eventually;
use crate::support::server::{Server, migrate};
use crate::support::sse::Stream;

crate::on_both!(readers_miss_nothing_while_the_service_writes);

/// What a reader saw: it checks that no event comes twice and each order's come in their order.
#[derive(Default)]
struct Seen {
    versions: HashMap<String, u64>,
    count: usize,
}

impl Seen {
    fn event(&mut self, event: &Value) {
        let order = event["subject"].as_str().unwrap().to_owned();
        let version: u64 = event["sequence"].as_str().unwrap().parse().unwrap();
        let last = self.versions.insert(order, version).unwrap_or_default();
        assert_eq!(
            version,
            last + 1,
            "in order, none missed, none twice: {event}"
        );
        self.count += 1;
    }
}

/// Follows the feed by polling until `total` events were seen.
async fn poll(server: Arc<Server>, total: usize) -> Seen {
    let (mut seen, mut path) = (Seen::default(), "/api/v1/events?limit=50".to_owned());
    while seen.count < total {
        let page = server.get(&path).await;
        path = next(&page).unwrap();
        page.json::<Vec<Value>>()
            .iter()
            .for_each(|event| seen.event(event));
    }
    seen
}

/// Follows the feed by streams that break at random until `total` events were seen.
async fn stream(server: Arc<Server>, total: usize) -> Seen {
    let (mut seen, mut last) = (Seen::default(), None);
    while seen.count < total {
        let mut stream = Stream::open(&server, last.as_deref()).await;
        let patience = 1 + Uuid::new_v4().as_u128() % 2_000;
        for _ in 0..patience {
            let Some(event) = stream.next().await else {
                break;
            };
            seen.event(&event.data);
            last = Some(event.id);
            if seen.count == total {
                break;
            }
        }
    }
    seen
}

async fn readers_miss_nothing_while_the_service_writes(database: Database) {
    let server = Arc::new(Server::start(&database, &[]).await);
    let (writers, orders) = (8, 100);
    let total = writers * orders * 2;
    let readers = [
        tokio::spawn(poll(Arc::clone(&server), total)),
        tokio::spawn(stream(Arc::clone(&server), total)),
    ];
    let writing: Vec<_> = (0..writers)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                for _ in 0..orders {
                    let order = server.place("sku-1").await;
                    confirm(&server, order["id"].as_str().unwrap()).await;
                }
            })
        })
        .collect();
    for writer in writing {
        writer.await.unwrap();
    }
    for reader in readers {
        let seen = tokio::time::timeout(Duration::from_secs(30), reader).await;
        let seen = seen.expect("all events arrive").unwrap();
        assert_eq!(seen.versions.len(), writers * orders);
    }
}

/// What an event must hold: an order.
const DATA: &str = r#"'{"id":"0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071","product_id":"p","quantity":1,
    "status":"pending","customer_id":null,"metadata":{},"version":1,
    "created_at":"2026-11-22T00:00:00.000000Z","updated_at":"2026-11-22T00:00:00.000000Z"}'"#;

const WRITERS: usize = 8;
const EVENTS_EACH: usize = 6_250;

/// Writes events in transactions of a few, each with a delay before its commit, some rolled back.
async fn write(database_url: String) {
    let client = crate::support::database::connect(&database_url).await;
    let insert = format!(
        "INSERT INTO events (order_id, version, position, occurred_at, data, data_bytes)
        SELECT $1::text::uuid, v, pg_current_xact_id()::text::bigint + xid_offset, now(), {DATA}, 300
        FROM feed, generate_series($2::int, $3::int) AS v"
    );
    let random = |below: u128| u32::try_from(Uuid::new_v4().as_u128() % below).unwrap();
    let (mut left, mut order, mut version) = (EVENTS_EACH, Uuid::now_v7(), 0);
    while left > 0 {
        let count = usize::try_from(1 + random(9)).unwrap().min(left);
        let upto = version + i32::try_from(count).unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        client
            .execute(&insert, &[&order.to_string(), &(version + 1), &upto])
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_micros(random(4_000).into())).await;
        if random(20) == 0 {
            client.batch_execute("ROLLBACK").await.unwrap();
            continue;
        }
        client.batch_execute("COMMIT").await.unwrap();
        (left, version) = (left - count, upto);
        if random(4) == 0 {
            (order, version) = (Uuid::now_v7(), 0);
        }
    }
}

/// How many events a reader sees that trusts the sequence alone: the mistake that the feed avoids.
async fn naive(database: Arc<Database>, done: Arc<AtomicBool>) -> usize {
    let client = database.client().await;
    let (mut last, mut count) = (0_i64, 0);
    loop {
        let finished = done.load(Ordering::Relaxed);
        let sql = "SELECT seq FROM events WHERE seq > $1 ORDER BY seq LIMIT 50";
        let rows = client.query(sql, &[&last]).await.unwrap();
        count += rows.len();
        match rows.last() {
            Some(row) => last = row.get(0),
            None if finished => return count,
            None => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_miss_nothing_whatever_commits_in_which_order() {
    let database = Arc::new(Database::postgres().await);
    let server = Arc::new(Server::start(&database, &[]).await);
    let total = WRITERS * EVENTS_EACH;
    let readers = [
        tokio::spawn(poll(Arc::clone(&server), total)),
        tokio::spawn(stream(Arc::clone(&server), total)),
    ];
    let done = Arc::new(AtomicBool::new(false));
    let control = tokio::spawn(naive(Arc::clone(&database), Arc::clone(&done)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write(database.url())))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        let seen = tokio::time::timeout(Duration::from_secs(60), reader).await;
        assert_eq!(seen.expect("all events arrive").unwrap().count, total);
    }
    let seen = control.await.unwrap();
    assert!(
        seen < total,
        "the control must miss some, or the test proves nothing"
    );
}

#[tokio::test]
async fn events_arrive_from_other_processes_and_after_a_restart_of_the_database() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    let (one, two) = (
        Server::start(&database, &[]).await,
        Server::start(&database, &[]).await,
    );
    let mut stream = Stream::open(&two, None).await;
    let listeners =
        "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^(LISTEN|NOTIFY) order_events'";
    eventually("both listen", Duration::from_secs(3), async || {
        database.number(listeners).await == 2
    })
    .await;
    let order = one.place("before").await;
    assert_eq!(stream.next().await.unwrap().data["data"], order);

    cluster.stop();
    cluster.start_again();
    eventually("served again", Duration::from_secs(5), async || {
        one.status("/readyz").await == 200
    })
    .await;
    let order = one.place("after").await;
    assert_eq!(
        stream.next().await.unwrap().data["data"],
        order,
        "the same stream goes on"
    );
    eventually("both listen again", Duration::from_secs(5), async || {
        database.number(listeners).await == 2
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_not_buffered_and_cut_off() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let fill = "INSERT INTO events (order_id, version, position, occurred_at, data, data_bytes)
        SELECT gen_random_uuid(), 1, 1, now(), json_build_object('filler', repeat('x', 2000)), 2020
        FROM generate_series(1, 50000)";
    database.execute(fill).await;
    let resident = async || {
        let line = server.scrape().await;
        let line = line
            .lines()
            .find(|l| l.starts_with("process_resident_memory_bytes "))
            .unwrap();
        line.split(' ').nth(1).unwrap().parse::<f64>().unwrap()
    };
    let before = resident().await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(Stream::open(&server, None).await);
    }
    // 100 MB wait for each of them.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let grown = resident().await - before;
    assert!(
        grown < 40e6,
        "{grown} bytes for 20 readers that do not read"
    );
    let start = Instant::now();
    let sockets = || {
        let port = server
            .api
            .rsplit_once(':')
            .unwrap()
            .1
            .parse::<u16>()
            .unwrap();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let local = format!(":{port:04X} ");
        let established = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            words
                .next()
                .is_some_and(|at| format!("{at} ").ends_with(&local))
                && words.nth(1) == Some("01")
        };
        table.lines().filter(established).count()
    };
    assert!(sockets() >= 20);
    eventually("they are cut off", Duration::from_secs(90), async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sockets() < 5
    })
    .await;
    assert!(start.elapsed() > Duration::from_secs(10), "but not at once");
    assert_eq!(server.status("/healthz").await, 200);
    drop(stuck);
}

#[tokio::test]
async fn a_database_restored_from_a_dump_goes_on_behind_its_old_events() {
    let database = Database::postgres().await;
    migrate(&database);
    // As after a restore into a young cluster: events from transactions that are yet to come.
    let restored = format!(
        "INSERT INTO events (order_id, version, position, occurred_at, data, data_bytes)
        SELECT gen_random_uuid(), 1, 4000000000 + i, now(), {DATA}, 300 FROM generate_series(1, 3) AS i"
    );
    database.execute(&restored).await;
    migrate(&database);
    let server = Server::start(&database, &[]).await;
    let order = server.place("new").await;
    eventually(
        "all four in their order",
        Duration::from_secs(30),
        async || {
            let events = feed(&server, "/api/v1/events").await;
            events.len() == 4 && events[3]["subject"] == order["id"]
        },
    )
    .await;
}

#[tokio::test]
async fn the_lag_of_the_feed_is_measured_and_a_quiet_stream_says_that_it_lives() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let lag = async || {
        let scrape = server.scrape().await;
        let line = scrape
            .lines()
            .find(|line| line.starts_with("feed_lag_seconds "))
            .unwrap();
        line.split(' ').nth(1).unwrap().parse::<f64>().unwrap()
    };
    // A transaction that wrote something and does not end holds back what comes after it.
    let slow = database.client().await;
    slow.batch_execute("BEGIN; SELECT pg_current_xact_id()")
        .await
        .unwrap();
    server.place("held back").await;
    assert_eq!(feed(&server, "/api/v1/events").await.len(), 0);
    eventually("the lag grows", Duration::from_secs(15), async || {
        lag().await > 3.0
    })
    .await;
    slow.batch_execute("COMMIT").await.unwrap();
    eventually("the event arrives", Duration::from_secs(30), async || {
        feed(&server, "/api/v1/events").await.len() == 1
    })
    .await;
    eventually("the lag is gone", Duration::from_secs(15), async || {
        lag().await < 0.001
    })
    .await;

    let mut stream = Stream::open(&server, None).await;
    stream.next().await.unwrap();
    assert!(stream.heartbeat().await, "a comment within 20 s");
}

#[tokio::test]
async fn a_lag_that_cannot_be_measured_is_no_number_and_is_counted() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[("STATEMENT_TIMEOUT", "500ms")]).await;
    server.place("first").await;
    let value = async |name: &str| -> f64 {
        let scrape = server.scrape().await;
        let line = scrape.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    let failures = async || value("feed_lag_failures_total ").await;
    eventually("the lag is known", Duration::from_secs(15), async || {
        value("feed_lag_seconds ").await < 0.001
    })
    .await;
    let before = failures().await;
    let lock = database.client().await;
    lock.batch_execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    eventually("the lag is unknown", Duration::from_secs(15), async || {
        value("feed_lag_seconds ").await.is_nan() && failures().await > before
    })
    .await;
    lock.batch_execute("COMMIT").await.unwrap();
    eventually(
        "the lag is known again",
        Duration::from_secs(15),
        async || value("feed_lag_seconds ").await < 0.001,
    )
    .await;
}

/// Whether an event that was placed now is in the feed within a second.
async fn arrives(server: &Server) -> bool {
    let count = feed(server, "/api/v1/events").await.len();
    server.place("sku").await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if feed(server, "/api/v1/events").await.len() > count {
            return true;
        }
    }
    false
}

/// What docs/API.md and the runbook say about who holds events back.
#[tokio::test]
async fn writers_of_the_whole_cluster_hold_events_back_and_nobody_else_does() {
    let cluster = Cluster::start();
    let system = crate::support::database::connect(&cluster.url).await;
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
    let database = Database::postgres_in(cluster.url.clone()).await;
    let server = Server::start(&database, &[]).await;
    let other = crate::support::database::connect(&cluster.url).await;
    let run = async |sql: &str| other.batch_execute(sql).await.unwrap();

    // A dump, and a slot that nobody reads, have a snapshot and no transaction id.
    run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM pg_class").await;
    assert!(arrives(&server).await);
    run("COMMIT").await;
    run("SELECT pg_create_physical_replication_slot('idle', true)").await;
    run("SELECT pg_create_logical_replication_slot('unread', 'test_decoding')").await;
    assert!(arrives(&server).await);
    // A transaction of another database that has written something.
    run("BEGIN; CREATE TABLE elsewhere ()").await;
    assert!(!arrives(&server).await);
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
    assert!(arrives(&server).await);
    run("BEGIN; DROP TABLE elsewhere; PREPARE TRANSACTION 'forgotten'").await;
    assert!(!arrives(&server).await);
    assert_eq!(found().await, ["prepared forgotten"]);
    run("ROLLBACK PREPARED 'forgotten'").await;
    assert!(arrives(&server).await);
    assert_eq!(found().await, Vec::<String>::new());
    run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await;
}

/// Why readers wait for every writer, and not only for those that hold a lock on `events`: a transaction
/// may have its number before it touches the table.
#[tokio::test]
async fn a_horizon_of_those_who_hold_a_lock_on_events_would_lose_some() {
    let database = Database::postgres().await;
    migrate(&database);
    let (late, early, reader) = (
        database.client().await,
        database.client().await,
        database.client().await,
    );
    let insert = format!(
        "INSERT INTO events (order_id, version, position, occurred_at, data, data_bytes)
        SELECT gen_random_uuid(), 1, pg_current_xact_id()::text::bigint + xid_offset, now(), {DATA}, 300 FROM feed"
    );
    // The first of: the transactions that hold a lock on the table, those yet to come.
    let horizon = "SELECT coalesce(min(backend_xid::text::bigint),
            pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
        FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks
            WHERE relation = 'events'::regclass AND mode = 'RowExclusiveLock')";
    let read = async |after: i64| -> (usize, i64) {
        let below: i64 = reader.query_one(horizon, &[]).await.unwrap().get(0);
        let sql =
            "SELECT position FROM events WHERE position > $1 AND position < $2 ORDER BY position";
        let rows = reader.query(sql, &[&after, &below]).await.unwrap();
        (rows.len(), rows.last().map_or(after, |row| row.get(0)))
    };
    late.batch_execute("BEGIN; SELECT pg_current_xact_id()")
        .await
        .unwrap();
    early.batch_execute(&insert).await.unwrap();
    let (first, cursor) = read(0).await;
    late.batch_execute(&format!("{insert}; COMMIT"))
        .await
        .unwrap();
    let (second, _) = read(cursor).await;
    assert_eq!((first, second), (1, 0), "and the second event is lost");
    assert_eq!(database.number("SELECT count(*) FROM events").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_follow_take_no_place_from_requests() {
    let database = Database::postgres().await;
    let server = Server::start(
        &database,
        &[("QUEUE_CAPACITY", "10"), ("POOL_MAX_SIZE", "8")],
    )
    .await;
    let mut streams = Vec::new();
    for _ in 0..60 {
        streams.push(Stream::open(&server, None).await);
    }
    for i in 0..200 {
        server.place(&format!("sku-{i}")).await;
    }
    for stream in &mut streams {
        for _ in 0..200 {
            assert_eq!(stream.next().await.unwrap().kind, "order.created");
        }
    }
}
