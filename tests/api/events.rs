//! The events of orders, as a list, a feed and a stream.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::lists::next;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::{Server, problem, slug};
use crate::support::sse::Stream;

crate::on_both!(
    every_version_has_its_event,
    the_feed_is_followed_by_its_links,
    the_feed_is_streamed_and_resumed,
    cursors_are_checked,
    a_stream_ends_with_the_place_to_resume_from,
    a_page_ends_at_a_mebibyte_but_holds_an_event,
);

pub async fn feed(server: &Server, first: &str) -> Vec<Value> {
    let (mut events, mut path) = (Vec::new(), first.to_owned());
    loop {
        let page = server.get(&path).await;
        assert_eq!(
            page.header("content-type"),
            "application/cloudevents-batch+json"
        );
        let batch: Vec<Value> = page.json();
        path = next(&page).expect("a link, always");
        if batch.is_empty() {
            return events;
        }
        events.extend(batch);
    }
}

pub async fn confirm(server: &Server, id: &str) -> Value {
    let url = server.url(&format!("/api/v1/orders/{id}"));
    let patch = server
        .client
        .patch(url)
        .json(&json!({"status": "confirmed"}));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    patch
        .header("traceparent", trace)
        .send()
        .await
        .unwrap()
        .json()
}

async fn every_version_has_its_event(database: Database) {
    let server = Server::start(&database, &[]).await;
    let created = server.place("sku-1").await;
    let id = created["id"].as_str().unwrap();
    let updated = confirm(&server, id).await;
    let path = format!("/api/v1/orders/{id}/events");
    let events: Vec<Value> = server.get(&path).await.json();
    assert_eq!(
        events,
        [
            json!({
                "specversion": "1.0", "id": format!("{id}.1"), "source": "/api/v1/orders",
                "type": "order.created", "subject": id, "time": created["created_at"],
                "datacontenttype": "application/json", "sequence": "1", "data": created,
            }),
            json!({
                "specversion": "1.0", "id": format!("{id}.2"), "source": "/api/v1/orders",
                "type": "order.updated", "subject": id, "time": updated["updated_at"],
                "datacontenttype": "application/json", "sequence": "2", "data": updated,
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            }),
        ]
    );
    let page = server.get(&format!("{path}?limit=1")).await;
    let second = next(&page).unwrap();
    assert_eq!(server.get(&second).await.json::<Vec<Value>>(), events[1..]);
    let end = server.get(&format!("{path}?after=2")).await;
    assert_eq!(end.json::<Vec<Value>>(), Vec::<Value>::new());
    for missing in [Uuid::now_v7().to_string(), "7".to_owned()] {
        let path = format!("/api/v1/orders/{missing}/events");
        assert_eq!(slug(&problem(server.get(&path).await)), "not-found");
    }
}

async fn the_feed_is_followed_by_its_links(database: Database) {
    let server = Server::start(&database, &[]).await;
    assert_eq!(feed(&server, "/api/v1/events").await, Vec::<Value>::new());
    let mut ids = Vec::new();
    for i in 0..25 {
        let order = server.place(&format!("sku-{i}")).await;
        ids.push(format!("{}.1", order["id"].as_str().unwrap()));
    }
    eventually("all are in the feed", Duration::from_secs(30), async || {
        feed(&server, "/api/v1/events?limit=7").await.len() == 25
    })
    .await;
    let events = feed(&server, "/api/v1/events?limit=7").await;
    let seen: Vec<_> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!(seen, ids);
    // The link at the end is where new events appear.
    let page = server.get("/api/v1/events?limit=100").await;
    let end = next(&page).unwrap();
    confirm(&server, events[3]["subject"].as_str().unwrap()).await;
    eventually(
        "the change is behind the end",
        Duration::from_secs(30),
        async || {
            let events = feed(&server, &end).await;
            events.len() == 1 && events[0]["type"] == "order.updated"
        },
    )
    .await;
}

async fn the_feed_is_streamed_and_resumed(database: Database) {
    let server = Server::start(&database, &[]).await;
    let first = server.place("sku-1").await;
    let mut stream = Stream::open(&server, None).await;
    let event = stream.next().await.unwrap();
    assert_eq!(event.kind, "order.created");
    assert_eq!(event.data["data"], first);
    let second = server.place("sku-2").await;
    assert_eq!(stream.next().await.unwrap().data["data"], second);
    drop(stream);
    let third = server.place("sku-3").await;
    let mut resumed = Stream::open(&server, Some(&event.id)).await;
    assert_eq!(resumed.next().await.unwrap().data["data"], second);
    assert_eq!(resumed.next().await.unwrap().data["data"], third);
}

async fn cursors_are_checked(database: Database) {
    let server = Server::start(&database, &[]).await;
    // HEAD of a stream ends, and its connection is good for another request.
    for _ in 0..3 {
        let head = server.client.head(server.url("/api/v1/events"));
        let head = head
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(head.header("content-type"), "text/event-stream");
    }
    for query in [
        "after=1",
        "after=12-7",
        "after=AQ",
        "after=AA==",
        "after=x",
        "after=",
        "limit=0",
        "limit=x",
        "page=1",
    ] {
        let refused = problem(server.get(&format!("/api/v1/events?{query}")).await);
        assert_eq!(slug(&refused), "validation-failed", "{query}");
    }
    let request = server.client.get(server.url("/api/v1/events"));
    let request = request
        .header("accept", "text/event-stream")
        .header("last-event-id", "x");
    let refused = problem(request.send().await.unwrap());
    assert_eq!(refused["errors"][0]["pointer"], "/Last-Event-ID");
}

async fn a_stream_ends_with_the_place_to_resume_from(database: Database) {
    let mut server = Server::start(&database, &[]).await;
    server.place("sku-1").await;
    let mut stream = Stream::open(&server, None).await;
    let event = stream.next().await.unwrap();
    server.signal(libc::SIGTERM);
    assert!(stream.next().await.is_none(), "the stream ends");
    assert_eq!(stream.last_id.as_deref(), Some(event.id.as_str()));
    assert_eq!(server.ended(Duration::from_secs(5)).await.code(), Some(0));
}

/// Writes `count` events of one order, each with so many bytes of data more than an order has.
async fn fill(database: &Database, id: &str, bytes: usize, first: usize, count: usize) {
    let data = |filler: &str| {
        format!(
            r#"'{{"id":"{id}","product_id":"p","quantity":1,"status":"pending","customer_id":null,"metadata":{{}},
            "version":1,"created_at":"2026-11-22T00:00:00.000000Z","updated_at":"2026-11-22T00:00:00.000000Z",
            "filler":"' || {filler} || '"}}'"#
        )
    };
    let last = first + count - 1;
    let sql = if database.is_postgres() {
        let data = data(&format!("repeat('x', {bytes})"));
        format!(
            "INSERT INTO events (order_id, version, position, occurred_at, data, data_bytes)
            SELECT '{id}', i, 1, now(), ({data})::json, length({data}) FROM generate_series({first}, {last}) AS i"
        )
    } else {
        let id = id.replace('-', "");
        let data = data(&format!("replace(hex(zeroblob({})), '0', 'x')", bytes / 2));
        format!(
            "INSERT INTO events (order_id, version, occurred_at, data, data_bytes)
            WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
            SELECT x'{id}', i, 0, {data}, length({data}) FROM n"
        )
    };
    database.execute(&sql).await;
}

async fn a_page_ends_at_a_mebibyte_but_holds_an_event(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
    fill(&database, id, 200_000, 1, 12).await;
    fill(&database, id, 2_000_000, 13, 2).await;
    fill(&database, id, 10, 15, 300).await;
    let mebibyte = 1 << 20;
    for path in [
        "/api/v1/events".to_owned(),
        format!("/api/v1/orders/{id}/events"),
    ] {
        let (mut sizes, mut seen, mut link) = (Vec::new(), 0, Some(path.clone()));
        while seen < 314 {
            let page = server.get(&link.expect("a link while there is more")).await;
            let events: Vec<Value> = page.json();
            for event in &events {
                seen += 1;
                assert_eq!(event["sequence"], seen.to_string());
            }
            let bytes = page.text().len();
            assert!(bytes <= mebibyte || events.len() == 1, "{path}: {bytes}");
            sizes.push(events.len());
            link = next(&page);
        }
        assert_eq!(sizes[..5], [5, 5, 2, 1, 1], "{path}");
        assert_eq!(sizes[5..], [100, 100, 100], "{path}");
        // The feed always has a link, an order's events while there may be more.
        assert_eq!(link.is_some(), path == "/api/v1/events");
    }
    // A stream has the same events in smaller pieces.
    let mut stream = Stream::open(&server, None).await;
    for version in 1..=314 {
        assert_eq!(
            stream.next().await.unwrap().data["sequence"],
            version.to_string()
        );
    }
}
