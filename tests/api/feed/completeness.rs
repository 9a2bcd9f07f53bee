//! Readers get every event once and in order, in whatever order transactions commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::EVENT_DATA;
use crate::events::confirm;
use crate::support::binary::migrate;
use crate::support::database::{Database, connect};
use crate::support::event_stream::EventStream;
use crate::support::orders::order_id;
use crate::support::server::Server;

crate::on_both!(readers_get_every_event_while_the_service_writes);

/// The events that a reader received. Each order's must arrive in order, without a gap and once.
#[derive(Default)]
struct Received {
    versions: HashMap<String, u64>,
    count: usize,
}

impl Received {
    fn add(&mut self, event: &Value) {
        let order = event["subject"].as_str().unwrap().to_owned();
        let version: u64 = event["sequence"].as_str().unwrap().parse().unwrap();
        let last = self.versions.insert(order, version).unwrap_or_default();
        assert_eq!(
            version,
            last + 1,
            "not the next version of its order: {event}"
        );
        self.count += 1;
    }
}

/// Follows the feed by pages until it has received `total` events.
async fn follow_pages(server: Arc<Server>, total: usize) -> Received {
    let mut received = Received::default();
    let mut path = "/api/v1/events?limit=50".to_owned();
    while received.count < total {
        let page = server.get(&path).await;
        path = page.next_link().unwrap();
        page.json::<Vec<Value>>()
            .iter()
            .for_each(|event| received.add(event));
    }
    received
}

/// Follows the feed by streams, each closed after a random number of events, until it has received `total` events.
async fn follow_streams(server: Arc<Server>, total: usize) -> Received {
    let (mut received, mut last_id) = (Received::default(), None);
    while received.count < total {
        let mut stream = EventStream::open(&server, last_id.as_deref()).await;
        let events = 1 + Uuid::new_v4().as_u128() % 2_000;
        for _ in 0..events {
            let Some(event) = stream.next().await else {
                break;
            };
            received.add(&event.data);
            last_id = Some(event.id);
            if received.count == total {
                break;
            }
        }
    }
    received
}

async fn readers_get_every_event_while_the_service_writes(database: Database) {
    let server = Arc::new(Server::start(&database, &[]).await);
    let (writers, orders) = (8, 100);
    let total = writers * orders * 2;
    let readers = [
        tokio::spawn(follow_pages(Arc::clone(&server), total)),
        tokio::spawn(follow_streams(Arc::clone(&server), total)),
    ];
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                for _ in 0..orders {
                    let order = server.create("sku-1").await;
                    confirm(&server, order_id(&order)).await;
                }
            })
        })
        .collect();
    for writer in tasks {
        writer.await.unwrap();
    }
    for reader in readers {
        let received = tokio::time::timeout(Duration::from_secs(30), reader).await;
        let received = received.expect("all events arrive").unwrap();
        assert_eq!(received.versions.len(), writers * orders);
    }
}

const WRITERS: usize = 8;
const EVENTS_EACH: usize = 6_250;

/// Writes events in transactions of up to nine, with a delay before each commit, and rolls some back.
async fn write_events(database_url: String) {
    let client = connect(&database_url).await;
    let insert = format!(
        "INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
        SELECT 'default', 'created', 'api_key', $1::text::uuid, v, pg_current_xact_id()::text::bigint + xid_offset, now(), {EVENT_DATA}, 300
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

/// The control: the number of events that a reader gets which orders by the sequence number alone. A transaction that
/// commits late has lower numbers than those already read, so this reader misses its events.
async fn follow_sequence_numbers(database: Arc<Database>, done: Arc<AtomicBool>) -> usize {
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
async fn readers_get_every_event_in_whatever_order_transactions_commit() {
    let database = Arc::new(Database::postgres().await);
    let server = Arc::new(Server::start(&database, &[]).await);
    let total = WRITERS * EVENTS_EACH;
    let readers = [
        tokio::spawn(follow_pages(Arc::clone(&server), total)),
        tokio::spawn(follow_streams(Arc::clone(&server), total)),
    ];
    let done = Arc::new(AtomicBool::new(false));
    let control = tokio::spawn(follow_sequence_numbers(
        Arc::clone(&database),
        Arc::clone(&done),
    ));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write_events(database.url())))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        let received = tokio::time::timeout(Duration::from_secs(60), reader).await;
        let received = received.expect("all events arrive").unwrap();
        assert_eq!(received.count, total);
    }
    let received = control.await.unwrap();
    assert!(
        received < total,
        "the control must miss events, or the test proves nothing"
    );
}

/// Why readers wait for every writer, and not only for those that hold a lock on `events`: a transaction may get its id
/// before it locks the table.
#[tokio::test]
async fn a_horizon_of_the_transactions_that_lock_events_would_lose_events() {
    let database = Database::postgres().await;
    migrate(&database);
    let (late, early, reader) = (
        database.client().await,
        database.client().await,
        database.client().await,
    );
    let insert = format!(
        "INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
        SELECT 'default', 'created', 'api_key', gen_random_uuid(), 1, pg_current_xact_id()::text::bigint + xid_offset, now(), {EVENT_DATA}, 300 FROM feed"
    );
    // The lowest id of the transactions that hold a lock on the table, or else the next id.
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
    assert_eq!((first, second), (1, 0), "the second event is lost");
    assert_eq!(database.count("events").await, 2);
}
