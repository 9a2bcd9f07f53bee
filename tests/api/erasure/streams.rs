//! Followers of the feed receive the erasure, and afterwards redacted events only.

use serde_json::{Value, json};

use super::{erase, personal_order};
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::server::Server;

crate::on_both!(a_follower_receives_erasures_and_a_resumed_one_redacted_events);

async fn a_follower_receives_erasures_and_a_resumed_one_redacted_events(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut stream = EventStream::open(&server, None).await;
    server.create("sku-0").await;
    let first = stream.next().await.unwrap();
    for i in 0..30 {
        let body = personal_order("ann", &i.to_string());
        assert_eq!(server.post(&body).await.status(), 201);
        // The process keeps recent events in memory for streams like this one.
        let event = stream.next().await.unwrap();
        assert_eq!(
            event.data["data"]["metadata"],
            json!({"note": format!("metadata-{i}")})
        );
    }
    erase(&server, "ann").await;
    for _ in 0..30 {
        let event = stream.next().await.unwrap();
        assert_eq!(event.kind, "order.erased");
        assert_eq!(event.data["data"]["metadata"], json!({}));
    }
    // From a position that the recent events cover, from one that they do not, and from the beginning.
    for resumed in [Some(first.id.as_str()), None] {
        let mut stream = EventStream::open(&server, resumed).await;
        let expected = if resumed.is_some() { 60 } else { 61 };
        for _ in 0..expected {
            let event = stream.next().await.unwrap();
            let text = event.data.to_string();
            assert!(
                !text.contains("ann") && !text.contains("external-") && !text.contains("metadata-"),
                "{text}"
            );
            assert_eq!(event.data.get("authid"), None::<&Value>);
        }
    }
}
