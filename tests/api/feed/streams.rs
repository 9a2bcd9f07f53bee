//! Streams of the feed across processes and restarts, and streams that are not read.

use std::time::{Duration, Instant};

use super::EVENT_DATA;
use crate::events::read_events;
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::server::Server;

#[tokio::test]
async fn a_stream_gets_events_of_other_processes_and_continues_after_a_restart_of_the_database() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let (one, two) = (
        Server::start(&database, &[]).await,
        Server::start(&database, &[]).await,
    );
    let mut stream = EventStream::open(&two, None).await;
    let listeners =
        "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^(LISTEN|NOTIFY) order_events'";
    eventually("both listen", Duration::from_secs(3), async || {
        database.number(listeners).await == 2
    })
    .await;
    let order = one.create("before").await;
    assert_eq!(stream.next().await.unwrap().data["data"], order);

    cluster.crash();
    cluster.start_again();
    eventually("it is ready again", Duration::from_secs(5), async || {
        one.status("/readyz").await == 200
    })
    .await;
    let order = one.create("after").await;
    assert_eq!(
        stream.next().await.unwrap().data["data"],
        order,
        "the same stream continues"
    );
    eventually("both listen again", Duration::from_secs(5), async || {
        database.number(listeners).await == 2
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_events_sends_comments() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    server.create("first").await;
    let mut stream = EventStream::open(&server, None).await;
    stream.next().await.unwrap();
    assert!(stream.next_is_comment().await, "a comment within 20 s");
}

/// The number of established TCP connections at this local address.
fn established_connections(address: &str) -> usize {
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let established = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|at| at.ends_with(&local)) && words.nth(1) == Some("01")
    };
    table.lines().filter(established).count()
}

#[tokio::test]
async fn streams_that_are_not_read_take_little_memory_and_are_closed() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let fill = "INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
        SELECT 'default', 'created', 'api_key', gen_random_uuid(), 1, 1, now(), json_build_object('filler', repeat('x', 2000)), 2020
        FROM generate_series(1, 50000)";
    database.execute(fill).await;
    let resident = async || server.metric::<f64>("process_resident_memory_bytes").await;
    let before = resident().await;
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(EventStream::open(&server, None).await);
    }
    // The feed has 100 MB for each of them.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let grown = resident().await - before;
    assert!(
        grown < 40e6,
        "{grown} bytes for 20 streams that are not read"
    );
    let start = Instant::now();
    assert!(established_connections(server.address()) >= 20);
    eventually("they are closed", Duration::from_secs(90), async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        established_connections(server.address()) < 5
    })
    .await;
    assert!(start.elapsed() > Duration::from_secs(10), "not at once");
    assert_eq!(server.status("/healthz").await, 200);
    drop(unread);
}

#[tokio::test]
async fn new_events_of_a_restored_database_follow_those_of_the_dump() {
    let database = Database::postgres().await;
    migrate(&database);
    // As after a restore into a new cluster: events with transaction ids that are not assigned yet.
    let restored = format!(
        "INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
        SELECT 'default', 'created', 'api_key', gen_random_uuid(), 1, 4000000000 + i, now(), {EVENT_DATA}, 300 FROM generate_series(1, 3) AS i"
    );
    database.execute(&restored).await;
    migrate(&database);
    let server = Server::start(&database, &[]).await;
    let order = server.create("new").await;
    eventually(
        "all four events in order",
        Duration::from_secs(30),
        async || {
            let events = read_events(&server, "/api/v1/events").await;
            events.len() == 4 && events[3]["subject"] == order["id"]
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_take_no_queue_capacity_from_requests() {
    let database = Database::postgres().await;
    let server = Server::start(
        &database,
        &[("QUEUE_CAPACITY", "10"), ("POOL_MAX_SIZE", "8")],
    )
    .await;
    let mut streams = Vec::new();
    for _ in 0..60 {
        streams.push(EventStream::open(&server, None).await);
    }
    for i in 0..200 {
        server.create(&format!("sku-{i}")).await;
    }
    for stream in &mut streams {
        for _ in 0..200 {
            assert_eq!(stream.next().await.unwrap().kind, "order.created");
        }
    }
}
