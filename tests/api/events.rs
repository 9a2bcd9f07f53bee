//! The events of orders, as a list, a feed and a stream.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::orders::order_id;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    every_version_of_an_order_has_an_event,
    following_the_links_of_the_feed_returns_each_event_in_order,
    a_stream_resumes_behind_the_last_event_id,
    invalid_cursors_and_parameters_are_rejected,
    a_stream_ends_at_shutdown_with_the_id_to_resume_from,
    a_page_of_events_ends_at_a_mebibyte_and_holds_at_least_one,
);

/// Every event from this link of the feed to its end.
pub(crate) async fn read_events(server: &Server, first: &str) -> Vec<Value> {
    let (mut events, mut path) = (Vec::new(), first.to_owned());
    loop {
        let page = server.get(&path).await;
        assert_eq!(
            page.header("content-type"),
            "application/cloudevents-batch+json"
        );
        let batch: Vec<Value> = page.json();
        path = page.next_link().expect("every page of the feed has a link");
        if batch.is_empty() {
            return events;
        }
        events.extend(batch);
    }
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Confirms an order in a request with a trace context, and returns the order.
pub(crate) async fn confirm(server: &Server, id: &str) -> Value {
    let url = server.url(&format!("/api/v1/orders/{id}"));
    let request = server.client.patch(url).header("traceparent", TRACEPARENT);
    let request = request.json(&json!({"status": "confirmed"}));
    request.send().await.unwrap().json()
}

async fn every_version_of_an_order_has_an_event(database: Database) {
    let server = Server::start(&database, &[]).await;
    let created = server.create("sku-1").await;
    let id = order_id(&created);
    let updated = confirm(&server, id).await;
    let path = format!("/api/v1/orders/{id}/events");
    let events: Vec<Value> = server.get(&path).await.json();
    assert_eq!(
        events,
        [
            json!({
                "specversion": "1.0", "id": format!("{id}.1"), "source": "/api/v1/orders",
                "type": "order.created", "subject": id, "time": created["created_at"],
                "datacontenttype": "application/json", "sequence": "1", "authtype": "unauthenticated",
                "data": created,
            }),
            json!({
                "specversion": "1.0", "id": format!("{id}.2"), "source": "/api/v1/orders",
                "type": "order.updated", "subject": id, "time": updated["updated_at"],
                "datacontenttype": "application/json", "sequence": "2", "authtype": "unauthenticated",
                "traceparent": TRACEPARENT, "data": updated,
            }),
        ]
    );
    let page = server.get(&format!("{path}?limit=1")).await;
    let second = page.next_link().unwrap();
    assert_eq!(server.get(&second).await.json::<Vec<Value>>(), events[1..]);
    let end = server.get(&format!("{path}?after=2")).await;
    assert_eq!(end.json::<Vec<Value>>(), Vec::<Value>::new());
    for missing in [Uuid::now_v7().to_string(), "7".to_owned()] {
        let path = format!("/api/v1/orders/{missing}/events");
        assert_eq!(problem_kind(&problem(server.get(&path).await)), "not-found");
    }
}

async fn following_the_links_of_the_feed_returns_each_event_in_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    assert_eq!(
        read_events(&server, "/api/v1/events").await,
        Vec::<Value>::new()
    );
    let mut ids = Vec::new();
    for i in 0..25 {
        let order = server.create(&format!("sku-{i}")).await;
        ids.push(format!("{}.1", order_id(&order)));
    }
    eventually("all are in the feed", Duration::from_secs(30), async || {
        read_events(&server, "/api/v1/events?limit=7").await.len() == 25
    })
    .await;
    let events = read_events(&server, "/api/v1/events?limit=7").await;
    let seen: Vec<_> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!(seen, ids);
    // New events appear behind the link at the end.
    let page = server.get("/api/v1/events?limit=100").await;
    let end = page.next_link().unwrap();
    confirm(&server, events[3]["subject"].as_str().unwrap()).await;
    eventually(
        "the update is behind the end",
        Duration::from_secs(30),
        async || {
            let events = read_events(&server, &end).await;
            events.len() == 1 && events[0]["type"] == "order.updated"
        },
    )
    .await;
}

async fn a_stream_resumes_behind_the_last_event_id(database: Database) {
    let server = Server::start(&database, &[]).await;
    let first = server.create("sku-1").await;
    let mut stream = EventStream::open(&server, None).await;
    let event = stream.next().await.unwrap();
    assert_eq!(event.kind, "order.created");
    assert_eq!(event.data["data"], first);
    let second = server.create("sku-2").await;
    assert_eq!(stream.next().await.unwrap().data["data"], second);
    drop(stream);
    let third = server.create("sku-3").await;
    let mut resumed = EventStream::open(&server, Some(&event.id)).await;
    assert_eq!(resumed.next().await.unwrap().data["data"], second);
    assert_eq!(resumed.next().await.unwrap().data["data"], third);
}

async fn invalid_cursors_and_parameters_are_rejected(database: Database) {
    let server = Server::start(&database, &[]).await;
    // The response to HEAD of a stream ends, so that its connection serves further requests.
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
        let rejected = problem(server.get(&format!("/api/v1/events?{query}")).await);
        assert_eq!(problem_kind(&rejected), "validation-failed", "{query}");
    }
    let request = server.client.get(server.url("/api/v1/events"));
    let request = request
        .header("accept", "text/event-stream")
        .header("last-event-id", "x");
    let rejected = problem(request.send().await.unwrap());
    assert_eq!(rejected["errors"][0]["pointer"], "/Last-Event-ID");
}

async fn a_stream_ends_at_shutdown_with_the_id_to_resume_from(database: Database) {
    let mut server = Server::start(&database, &[]).await;
    server.create("sku-1").await;
    let mut stream = EventStream::open(&server, None).await;
    let event = stream.next().await.unwrap();
    server.signal(libc::SIGTERM);
    assert!(stream.next().await.is_none(), "the stream ends");
    assert_eq!(stream.last_id.as_deref(), Some(event.id.as_str()));
    assert_eq!(
        server.wait_for_exit(Duration::from_secs(5)).await.code(),
        Some(0)
    );
}

/// Inserts `count` events of one order from version `first` on, each with `bytes` more of data than an order has.
async fn insert_events(database: &Database, id: &str, bytes: usize, first: usize, count: usize) {
    let data = |filler: &str| {
        format!(
            r#"'{{"id":"{id}","items":[{{"product_id":"p","quantity":1,"unit_amount":null}}],"product_id":"p","quantity":1,
            "currency":null,"total_amount":null,"external_id":null,"status":"pending","customer_id":null,"metadata":{{}},
            "version":1,"created_at":"2026-11-22T00:00:00.000000Z","updated_at":"2026-11-22T00:00:00.000000Z",
            "filler":"' || {filler} || '"}}'"#
        )
    };
    let last = first + count - 1;
    let sql = if database.is_postgres() {
        let data = data(&format!("repeat('x', {bytes})"));
        format!(
            "INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
            SELECT 'default', 'created', 'api_key', '{id}', i, 1, now(), ({data})::json, length({data}) FROM generate_series({first}, {last}) AS i"
        )
    } else {
        let id = id.replace('-', "");
        let data = data(&format!("replace(hex(zeroblob({})), '0', 'x')", bytes / 2));
        format!(
            "INSERT INTO events (tenant, event_type, authtype, order_id, version, recorded_at, occurred_at, data, data_bytes)
            WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
            SELECT 'default', 'created', 'api_key', x'{id}', i, 0, 0, {data}, length({data}) FROM n"
        )
    };
    database.execute(&sql).await;
}

async fn a_page_of_events_ends_at_a_mebibyte_and_holds_at_least_one(database: Database) {
    let server = Server::start(&database, &[]).await;
    let id = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
    insert_events(&database, id, 200_000, 1, 12).await;
    insert_events(&database, id, 2_000_000, 13, 2).await;
    insert_events(&database, id, 10, 15, 300).await;
    let mebibyte = 1 << 20;
    for path in [
        "/api/v1/events".to_owned(),
        format!("/api/v1/orders/{id}/events"),
    ] {
        let (mut sizes, mut seen, mut link) = (Vec::new(), 0, Some(path.clone()));
        while seen < 314 {
            let page = server.get(&link.expect("a link until the last page")).await;
            let events: Vec<Value> = page.json();
            for event in &events {
                seen += 1;
                assert_eq!(event["sequence"], seen.to_string());
            }
            let bytes = page.text().len();
            assert!(bytes <= mebibyte || events.len() == 1, "{path}: {bytes}");
            sizes.push(events.len());
            link = page.next_link();
        }
        assert_eq!(sizes[..5], [5, 5, 2, 1, 1], "{path}");
        assert_eq!(sizes[5..], [100, 100, 100], "{path}");
        // The feed always has a link; an order's events have one while there may be more.
        assert_eq!(link.is_some(), path == "/api/v1/events");
    }
    // A stream sends the same events in smaller chunks.
    let mut stream = EventStream::open(&server, None).await;
    for version in 1..=314 {
        assert_eq!(
            stream.next().await.unwrap().data["sequence"],
            version.to_string()
        );
    }
}
