//! Many streams: what they cost, and that there is a bound.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::{Server, problem, slug};
use crate::support::sse::Stream;

crate::on_both!(
    a_thousand_idle_streams_cost_one_query_a_second,
    no_more_streams_than_the_setting_and_no_fewer,
    line_ends_between_the_tokens_of_an_event_do_not_break_a_stream,
);

/// The value of a series.
async fn value(server: &Server, series: &str) -> f64 {
    let scrape = server.scrape().await;
    let line = scrape.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("no {series}"))
        .trim()
        .parse()
        .unwrap()
}

const READS: &str = "db_query_duration_seconds_count{query=\"read_feed\"}";

/// Opens a stream on a connection of its own.
async fn open(server: &Server) -> TcpStream {
    let address = server.api.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Reads until this text has come.
async fn expect(socket: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            assert!(socket.read_buf(&mut seen).await.unwrap() > 0, "ended early");
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(30), reading).await;
    let seen = String::from_utf8(seen).unwrap();
    assert!(done.is_ok(), "{text} did not come: {seen}");
    seen
}

async fn a_thousand_idle_streams_cost_one_query_a_second(database: Database) {
    let server = Server::start(&database, &[]).await;
    server.place("first").await;
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        streams.push(open(&server).await);
    }
    for stream in &mut streams {
        expect(stream, "\"first\"").await;
    }
    assert!((value(&server, "event_streams ").await - 1_000.0).abs() < 0.5);
    let resident = value(&server, "process_resident_memory_bytes ").await;
    assert!(resident < 100e6, "{resident} bytes");
    let before = value(&server, READS).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let reads = value(&server, READS).await - before;
    assert!((3.0..=8.0).contains(&reads), "{reads} reads in 5 s");
    // All get what comes, for a few reads in all.
    let order = server.place("second").await;
    let id = order["id"].as_str().unwrap();
    for stream in &mut streams {
        expect(stream, id).await;
    }
    let reads = value(&server, READS).await - before;
    assert!(reads < 40.0, "{reads} reads");
    drop(streams);
    eventually(
        "all streams have ended",
        Duration::from_secs(40),
        async || value(&server, "event_streams ").await.abs() < 0.5,
    )
    .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = value(&server, READS).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let reads = value(&server, READS).await - before;
    assert!(reads.abs() < 0.5, "{reads} reads for nobody");
}

async fn no_more_streams_than_the_setting_and_no_fewer(database: Database) {
    let server = Server::start(&database, &[("MAX_STREAMS", "3")]).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(Stream::open(&server, None).await);
    }
    let request = || {
        let request = server.client.get(server.url("/api/v1/events"));
        request.header("accept", "text/event-stream")
    };
    let refused = problem(request().send().await.unwrap());
    assert_eq!(
        (slug(&refused), refused["status"].as_u64()),
        ("overloaded", Some(503))
    );
    // HEAD opens none, and pages are no streams.
    let head = server.client.head(server.url("/api/v1/events"));
    let head = head.header("accept", "text/event-stream").send().await;
    assert_eq!(head.unwrap().status(), 200);
    assert_eq!(server.status("/api/v1/events").await, 200);
    assert!((value(&server, "event_streams ").await - 3.0).abs() < 0.5);
    streams.pop();
    eventually("one may come", Duration::from_secs(2), async || {
        Stream::request(&server, None).await.status() == 200
    })
    .await;
}

async fn line_ends_between_the_tokens_of_an_event_do_not_break_a_stream(database: Database) {
    let server = Server::start(&database, &[]).await;
    let order = server.place("first").await;
    // As a migration or a person may have written it.
    let sql = if database.is_postgres() {
        r#"UPDATE events SET data = replace(replace(replace(data::text, ',"quantity"', E'\r,\r\r"quantity"'),
            ',"status"', E'\r\n,"status"'), ',"version"', E'\n\n,"version"')::json"#
    } else {
        r#"UPDATE events SET data = replace(replace(replace(data, ',"quantity"', char(13) || ',' || char(13, 13) || '"quantity"'),
            ',"status"', char(13, 10) || ',"status"'), ',"version"', char(10, 10) || ',"version"')"#
    };
    database.execute(sql).await;
    let mut stream = Stream::open(&server, None).await;
    assert_eq!(stream.next().await.unwrap().data["data"], order);
    let order = server.place("second").await;
    assert_eq!(stream.next().await.unwrap().data["data"], order);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_connect_and_leave_take_few_connections() {
    let database = Database::postgres().await;
    let variables = [("POOL_MAX_SIZE", "8"), ("STATEMENT_TIMEOUT", "20s")];
    let server = Server::start(&database, &variables).await;
    server.place("first").await;
    // Reading events hangs; nothing else does.
    let lock = database.client().await;
    lock.batch_execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
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
        "it hung all the time"
    );
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass";
    let reads = database.number(waiting).await;
    // Two of streams, and one that measures the lag.
    assert!(reads <= 3, "{reads} reads at the same time");
    lock.batch_execute("COMMIT").await.unwrap();
    // Those who have left are gone, and with them what they wanted to read.
    eventually("no streams are left", Duration::from_secs(2), async || {
        value(&server, "event_streams ").await.abs() < 0.5
    })
    .await;
    let reads = value(&server, READS).await;
    assert!(
        reads < 30.0,
        "{reads} reads for 1500 clients that have left"
    );
    let mut stream = Stream::open(&server, None).await;
    assert_eq!(stream.next().await.unwrap().kind, "order.created");
}

#[tokio::test]
async fn a_client_that_closes_its_side_gets_a_stream_that_ends() {
    let server = Server::on_sqlite(&[]).await;
    for _ in 0..20 {
        let mut client = crate::support::raw::Raw::to(&server.api).await;
        client
            .send("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
            .await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
            .await
            .unwrap();
        let mut text = String::new();
        let read = tokio::io::AsyncReadExt::read_to_string(&mut client.stream, &mut text);
        let read = tokio::time::timeout(Duration::from_secs(5), read).await;
        read.unwrap().unwrap();
        let text = text.to_lowercase();
        assert!(text.starts_with("http/1.1 200"), "{text}");
        assert!(text.contains("text/event-stream"), "{text}");
        assert!(text.contains("retry: 1000"), "{text}");
    }
}
