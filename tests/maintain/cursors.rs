//! What readers of events see when retention removes events.

use std::time::Duration;

use serde_json::Value;

use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::orders::order_path;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;
use crate::{create_old_partition, maintained, record_days_ago};

crate::on_both!(
    a_reader_before_removed_events_gets_410_and_one_behind_them_continues,
    a_database_whose_events_are_all_removed_continues_its_feed,
    an_order_without_events_has_an_empty_list,
    events_of_the_last_days_stay,
);

const RETENTION: [(&str, &str); 1] = [("EVENT_RETENTION", "90d")];
/// More than the retention and a month: whole months are removed.
const OLD: i64 = 150;

/// The link behind the first `count` events.
async fn link_behind(server: &Server, count: usize) -> String {
    let page = server.get(&format!("/api/v1/events?limit={count}")).await;
    assert_eq!(page.json::<Vec<Value>>().len(), count);
    page.next_link().unwrap()
}

async fn products(server: &Server, link: &str) -> Vec<String> {
    let events: Vec<Value> = server.get(link).await.json();
    let product = |event: &Value| event["data"]["product_id"].as_str().unwrap().to_owned();
    events.iter().map(product).collect()
}

async fn expect_expired(server: &Server, link: &str) -> String {
    let gone = problem(server.get(link).await);
    assert_eq!(problem_kind(&gone), "cursor-expired");
    format!("/api/v1/events?after={}", gone["oldest"].as_str().unwrap())
}

async fn a_reader_before_removed_events_gets_410_and_one_behind_them_continues(database: Database) {
    let server = Server::start(&database, &[]).await;
    let behind_none = server.get("/api/v1/events").await.next_link().unwrap();
    create_old_partition(&database, OLD).await;
    for i in 1..=6 {
        server.create(&format!("sku-{i}")).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let links = [
        link_behind(&server, 1).await,
        link_behind(&server, 3).await,
        link_behind(&server, 4).await,
        link_behind(&server, 6).await,
    ];
    let [behind_one, behind_three, behind_four, end] = &links;
    let mut follower = EventStream::open(
        &server,
        end.split("after=")
            .nth(1)
            .map(|rest| rest.split('&').next().unwrap()),
    )
    .await;
    record_days_ago(&database, OLD, "seq <= (SELECT min(seq) + 2 FROM events)").await;
    let report = maintained(&database, &RETENTION);
    if database.is_postgres() {
        assert_eq!(report["partitions_removed"].as_array().unwrap().len(), 1);
    } else {
        assert_eq!(report["events_removed"], 3);
    }
    assert_eq!(database.count("events").await, 3);
    let rest = ["sku-4", "sku-5", "sku-6"];
    for link in [&behind_none, behind_one] {
        let oldest = expect_expired(&server, link).await;
        assert_eq!(products(&server, &oldest).await, rest);
    }
    // The last removed event was delivered, so nothing is missing.
    assert_eq!(products(&server, behind_three).await, rest);
    assert_eq!(products(&server, behind_four).await, rest[1..]);
    assert_eq!(products(&server, "/api/v1/events").await, rest);
    let order = server.create("next").await;
    assert_eq!(follower.next().await.unwrap().data["data"], order);
    assert_eq!(products(&server, end).await, ["next"]);
    // Another run changes nothing.
    let again = maintained(&database, &RETENTION);
    assert_eq!(
        (&again["events_removed"], &again["partitions_removed"]),
        (&0.into(), &Value::Array(vec![]))
    );
    assert_eq!(products(&server, behind_three).await, rest);
}

async fn a_database_whose_events_are_all_removed_continues_its_feed(database: Database) {
    let server = Server::start(&database, &[]).await;
    create_old_partition(&database, OLD).await;
    for i in 1..=3 {
        server.create(&format!("sku-{i}")).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (behind_one, end) = (link_behind(&server, 1).await, link_behind(&server, 3).await);
    let mut follower = EventStream::open(
        &server,
        end.split("after=")
            .nth(1)
            .map(|rest| rest.split('&').next().unwrap()),
    )
    .await;
    record_days_ago(&database, OLD, "true").await;
    maintained(&database, &RETENTION);
    assert_eq!(database.count("events").await, 0);
    expect_expired(&server, &behind_one).await;
    // The reader of all events of this process, too.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let order = server.create("next").await;
    assert_eq!(follower.next().await.unwrap().data["data"], order);
    assert_eq!(products(&server, &end).await, ["next"]);
    // A migration does not change the positions.
    crate::support::binary::migrate(&database);
    server.create("more").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(products(&server, &end).await, ["next", "more"]);
}

async fn an_order_without_events_has_an_empty_list(database: Database) {
    let server = Server::start(&database, &[]).await;
    create_old_partition(&database, OLD).await;
    let path = order_path(&server.create("sku-1").await);
    record_days_ago(&database, OLD, "true").await;
    maintained(&database, &RETENTION);
    let events = server.get(&format!("{path}/events")).await;
    assert_eq!(
        (events.status(), events.json::<Vec<Value>>()),
        (200, vec![])
    );
    let unknown = "/api/v1/orders/0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071/events";
    assert_eq!(server.status(unknown).await, 404);
    assert_eq!(server.status(&format!("{unknown}?after=1")).await, 404);
}

async fn events_of_the_last_days_stay(database: Database) {
    let server = Server::start(&database, &[]).await;
    server.create("sku-1").await;
    // On PostgreSQL, the month has no partition, and the event moves to the default partition.
    record_days_ago(&database, 80, "true").await;
    maintained(&database, &RETENTION);
    assert_eq!(database.count("events").await, 1);
    assert_eq!(database.count("feed_floors").await, 0);
    record_days_ago(&database, OLD, "true").await;
    let report = maintained(&database, &RETENTION);
    assert_eq!(report["events_removed"], 1);
    assert_eq!(database.count("events").await, 0);
    assert_eq!(database.count("feed_floors").await, 1);
}
