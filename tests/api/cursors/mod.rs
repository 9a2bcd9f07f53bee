//! Cursors when the history of the database changes: retention, failovers and restores.

mod failover;
mod restores;
mod retention;

use std::time::Duration;

use serde_json::Value;

use crate::events::read_events;
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

/// Waits until the feed has `count` events, and returns the link at its end.
async fn link_at_end(server: &Server, count: usize) -> String {
    let mut page = server.get("/api/v1/events").await;
    for _ in 0..1_500 {
        if page.json::<Vec<Value>>().len() == count {
            return page.next_link().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        page = server.get("/api/v1/events").await;
    }
    panic!("not {count} events: {page:?}");
}

/// The cursor in a link.
fn cursor(link: &str) -> &str {
    let (_, cursor) = link.split_once("after=").unwrap();
    cursor.split('&').next().unwrap()
}

/// Checks that the cursor in this link has expired for pages, for streams and for HEAD. Returns the link to the oldest
/// events, where a client starts again.
async fn expect_expired(server: &Server, link: &str) -> String {
    let gone = problem(server.get(link).await);
    assert_eq!(
        (problem_kind(&gone), gone["status"].as_u64()),
        ("cursor-expired", Some(410))
    );
    let oldest = gone["oldest"].as_str().unwrap();
    let stream = EventStream::request(server, Some(cursor(link))).await;
    assert_eq!(stream.status(), 410, "before the stream begins");
    let body: Value = stream.json().await.unwrap();
    assert_eq!(body["oldest"], oldest);
    let head = server.client.head(server.url("/api/v1/events"));
    let head = head.header("accept", "text/event-stream");
    let head = head.header("last-event-id", cursor(link)).send().await;
    assert_eq!(head.unwrap().status(), 410, "HEAD as GET");
    format!("/api/v1/events?after={oldest}")
}

/// Checks that pages and streams continue at this link: both get an order that is created now, and nothing else.
async fn expect_continues(server: &Server, link: &str) {
    assert_eq!(
        server.get(link).await.json::<Vec<Value>>(),
        Vec::<Value>::new()
    );
    let mut stream = EventStream::open(server, Some(cursor(link))).await;
    let order = server.create("next").await;
    assert_eq!(stream.next().await.unwrap().data["data"], order);
    let events = read_events(server, link).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["data"], order);
}

/// Waits for the end of a stream, and returns the last id received.
async fn last_id_at_end(stream: &mut EventStream) -> String {
    let end = tokio::time::timeout(Duration::from_secs(12), stream.next()).await;
    let end = end.expect("the stream ends in time");
    assert!(end.is_none(), "the stream sends no event");
    stream.last_id.clone().unwrap()
}

/// Moves the floor to the last of the oldest `count` events, as retention does before it removes them.
async fn raise_floor(database: &Database, count: usize) {
    let last = |columns: &str, order: &str| {
        format!(
            "SELECT {columns} FROM events ORDER BY {order} LIMIT 1 OFFSET {}",
            count - 1
        )
    };
    let sql = if database.is_postgres() {
        let last = last(
            "tenant, position, seq, order_id, version, occurred_at",
            "position, seq",
        );
        format!(
            "DELETE FROM feed_floors; INSERT INTO feed_floors (tenant, position, seq, order_id, version, occurred_at)
            {last}"
        )
    } else {
        let last = last("tenant, seq, order_id, version, occurred_at", "seq");
        format!(
            "DELETE FROM feed_floors; INSERT INTO feed_floors (tenant, seq, order_id, version, occurred_at) {last}"
        )
    };
    database.execute(&sql).await;
}

async fn remove_below_floor(database: &Database) {
    let sql = if database.is_postgres() {
        "DELETE FROM events AS e USING feed_floors AS f WHERE e.tenant = f.tenant AND (e.position, e.seq) <= (f.position, f.seq)"
    } else {
        "DELETE FROM events WHERE seq <= (SELECT f.seq FROM feed_floors AS f WHERE f.tenant = events.tenant)"
    };
    database.execute(sql).await;
}

/// Creates `count` orders and returns the link behind their events.
async fn create_orders(server: &Server, count: usize) -> String {
    for i in 0..count {
        server.create(&format!("sku-{i}")).await;
    }
    link_at_end(server, count).await
}
