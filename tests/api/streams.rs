//! Many streams: their cost and their limit.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::response_budget::{buffered_bytes, request_without_reading_as};
use crate::support::auth_file::{api_key, entry};
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::principals::with_principals;
use crate::support::problem::{problem, problem_kind};
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

crate::on_both!(
    a_thousand_idle_streams_share_one_query_a_second,
    as_many_streams_as_max_streams_are_accepted_and_no_more,
    line_ends_in_stored_events_do_not_break_a_stream,
);

/// Counts the reads of the feed.
const READS: &str = "db_query_duration_seconds_count{query=\"read_feed\"}";

/// Opens a stream on a connection of its own.
async fn open(server: &Server) -> TcpStream {
    let address = server.address();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Reads until the text has arrived, and returns what was read.
async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            assert!(
                socket.read_buf(&mut seen).await.unwrap() > 0,
                "the stream ended early"
            );
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(30), reading).await;
    let seen = String::from_utf8(seen).unwrap();
    assert!(done.is_ok(), "{text} did not arrive: {seen}");
    seen
}

async fn a_thousand_idle_streams_share_one_query_a_second(database: Database) {
    // One principal alone may open half of them.
    let server = Server::start(&database, &[("MAX_STREAMS", "2000")]).await;
    server.create("first").await;
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        streams.push(open(&server).await);
    }
    for stream in &mut streams {
        read_until(stream, "\"first\"").await;
    }
    assert_eq!(server.metric::<i64>("event_streams").await, 1_000);
    let resident = server.metric::<u64>("process_resident_memory_bytes").await;
    assert!(resident < 100_000_000, "{resident} bytes");
    let before = server.metric::<u64>(READS).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let reads = server.metric::<u64>(READS).await - before;
    assert!((3..=8).contains(&reads), "{reads} reads in 5 s");
    // All streams get a new event from a few reads.
    let order = server.create("second").await;
    let id = order["id"].as_str().unwrap();
    for stream in &mut streams {
        read_until(stream, id).await;
    }
    let reads = server.metric::<u64>(READS).await - before;
    assert!(reads < 40, "{reads} reads");
    drop(streams);
    eventually(
        "all streams have ended",
        Duration::from_secs(40),
        async || server.metric::<i64>("event_streams").await == 0,
    )
    .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = server.metric::<u64>(READS).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let reads = server.metric::<u64>(READS).await - before;
    assert_eq!(reads, 0, "reads without a stream");
}

async fn as_many_streams_as_max_streams_are_accepted_and_no_more(database: Database) {
    let (server, _file) = with_principals(&database, &[("MAX_STREAMS", "3")]).await;
    let mut streams = Vec::new();
    for principal in ["a", "b", "c"] {
        let stream = EventStream::request_as(&server, principal).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let request = || {
        let request = server.client.get(server.url("/api/v1/events"));
        request.header("accept", "text/event-stream")
    };
    let rejected = problem(request().send().await.unwrap());
    assert_eq!(
        (problem_kind(&rejected), rejected["status"].as_u64()),
        ("overloaded", Some(503))
    );
    // HEAD and pages do not count as streams.
    let head = server.client.head(server.url("/api/v1/events"));
    let head = head.header("accept", "text/event-stream").send().await;
    let head = head.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers().get("content-length"), None);
    assert_eq!(server.status("/api/v1/events").await, 200);
    assert_eq!(server.metric::<i64>("event_streams").await, 3);
    streams.pop();
    eventually(
        "another stream is accepted",
        Duration::from_secs(2),
        async || EventStream::request(&server, None).await.status() == 200,
    )
    .await;
}

async fn line_ends_in_stored_events_do_not_break_a_stream(database: Database) {
    let server = Server::start(&database, &[]).await;
    let order = server.create("first").await;
    // A migration or an administrator may have written data with such line ends.
    let sql = if database.is_postgres() {
        r#"UPDATE events SET data = replace(replace(replace(data::text, ',"quantity"', E'\r,\r\r"quantity"'),
            ',"status"', E'\r\n,"status"'), ',"version"', E'\n\n,"version"')::json"#
    } else {
        r#"UPDATE events SET data = replace(replace(replace(data, ',"quantity"', char(13) || ',' || char(13, 13) || '"quantity"'),
            ',"status"', char(13, 10) || ',"status"'), ',"version"', char(10, 10) || ',"version"')"#
    };
    database.execute(sql).await;
    let mut stream = EventStream::open(&server, None).await;
    assert_eq!(stream.next().await.unwrap().data["data"], order);
    let order = server.create("second").await;
    assert_eq!(stream.next().await.unwrap().data["data"], order);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_clients_close_at_once_take_few_connections() {
    let database = Database::postgres().await;
    let variables = [("POOL_MAX_SIZE", "8"), ("STATEMENT_TIMEOUT", "20s")];
    let server = Server::start(&database, &variables).await;
    server.create("first").await;
    // Reads of events wait; everything else continues.
    let lock = database
        .begin("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .await;
    let started = std::time::Instant::now();
    for _ in 0..15 {
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(open(&server).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(clients);
        let list = server.get("/api/v1/orders?limit=5");
        let list = tokio::time::timeout(Duration::from_secs(2), list).await;
        assert_eq!(list.expect("a list in time").status(), 200);
    }
    assert!(
        started.elapsed() < Duration::from_secs(19),
        "the reads waited during the whole loop"
    );
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass";
    let reads = database.number(waiting).await;
    // Two for streams, and one that measures the lag.
    assert!(reads <= 3, "{reads} reads at the same time");
    lock.batch_execute("COMMIT").await.unwrap();
    // The closed streams have ended, and so have their reads.
    eventually("no streams are left", Duration::from_secs(2), async || {
        server.metric::<i64>("event_streams").await == 0
    })
    .await;
    let reads = server.metric::<u64>(READS).await;
    assert!(reads < 30, "{reads} reads for 1500 closed streams");
    let mut stream = EventStream::open(&server, None).await;
    assert_eq!(stream.next().await.unwrap().kind, "order.created");
}

#[tokio::test]
async fn a_client_that_shuts_down_its_side_gets_a_stream_that_ends() {
    let server = Server::on_sqlite(&[]).await;
    for _ in 0..20 {
        let mut client = RawClient::connect(&server.api).await;
        client
            .send("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            .await;
        client.stream.shutdown().await.unwrap();
        let mut text = String::new();
        let read = client.stream.read_to_string(&mut text);
        let read = tokio::time::timeout(Duration::from_secs(5), read).await;
        read.unwrap().unwrap();
        let text = text.to_lowercase();
        assert!(text.starts_with("http/1.1 200"), "{text}");
        assert!(text.contains("text/event-stream"), "{text}");
        assert!(text.contains("retry: 1000"), "{text}");
    }
}

/// Opens a stream as principal `a`, and makes the principal use up its share of response bytes. Returns the stream,
/// which has delivered its events, and the client that keeps the share used up.
async fn stream_over_the_share(server: &Server) -> (EventStream, RawClient) {
    const LARGE: usize = 40;
    let metadata: serde_json::Map<_, _> = (0..48)
        .map(|i| (format!("key-{i}"), "x".repeat(500).into()))
        .collect();
    for _ in 0..LARGE {
        let order = serde_json::json!({"product_id": "large", "quantity": 1, "metadata": metadata});
        assert_eq!(server.post(&order).await.status(), 201);
    }
    let mut stream = EventStream::open_with(server, &api_key("a"), None).await;
    for _ in 0..LARGE {
        assert!(stream.next().await.is_some());
    }
    let slow = request_without_reading_as(server, "a", "/api/v1/orders?limit=39").await;
    eventually("the page is buffered", Duration::from_secs(5), async || {
        buffered_bytes(server).await > 900_000
    })
    .await;
    server.create("later").await;
    let next = tokio::time::timeout(Duration::from_secs(2), stream.next()).await;
    assert!(next.is_err(), "the stream waits for its share");
    (stream, slow)
}

#[tokio::test]
async fn a_stream_over_the_share_of_its_principal_ends_when_its_key_is_removed() {
    let variables = [("RESPONSE_BUFFER_BYTES", "1000000")];
    let database = Database::sqlite();
    let (server, mut file) = with_principals(&database, &variables).await;
    let (mut stream, slow) = stream_over_the_share(&server).await;
    file.write(&entry(&api_key("b"), &["events:read"], "default"));
    let end = tokio::time::timeout(Duration::from_secs(15), stream.next()).await;
    assert!(end.expect("the stream ends within 15 s").is_none());
    assert!(stream.ended_cleanly());
    assert!(buffered_bytes(&server).await > 900_000);
    drop(slow);
    // The event that was held back comes after the last id.
    let last = stream.last_id.take().unwrap();
    let mut resumed = EventStream::open_with(&server, &api_key("b"), Some(&last)).await;
    let event = resumed.next().await.unwrap();
    assert_eq!(event.data["data"]["product_id"], "later");
}

#[tokio::test]
async fn a_stream_over_the_share_of_its_principal_ends_when_the_service_stops() {
    let variables = [("RESPONSE_BUFFER_BYTES", "1000000")];
    let database = Database::sqlite();
    let (server, _file) = with_principals(&database, &variables).await;
    let (mut stream, _slow) = stream_over_the_share(&server).await;
    server.signal(15);
    let end = tokio::time::timeout(Duration::from_secs(8), stream.next()).await;
    assert!(end.expect("the stream ends in time").is_none());
    assert!(stream.ended_cleanly());
}

#[tokio::test]
async fn a_stream_over_the_share_of_its_principal_continues_when_the_share_is_free() {
    let variables = [("RESPONSE_BUFFER_BYTES", "1000000")];
    let database = Database::sqlite();
    let (server, _file) = with_principals(&database, &variables).await;
    let (mut stream, slow) = stream_over_the_share(&server).await;
    drop(slow);
    let event = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
    let event = event.expect("the event in time").unwrap();
    assert_eq!(event.data["data"]["product_id"], "later");
}
