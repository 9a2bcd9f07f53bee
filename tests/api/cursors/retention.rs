//! Events that retention removes, and events that are missing or replaced.

use std::time::Duration;

use serde_json::Value;

use super::{
    create_orders, cursor, expect_continues, expect_expired, last_id_at_end, raise_floor,
    remove_below_floor,
};
use crate::events::read_events;
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::server::Server;

crate::on_both!(
    a_cursor_behind_removed_events_continues,
    a_cursor_before_removed_events_expires,
    a_missing_event_above_the_floor_expires_the_cursor_that_names_it,
    an_event_of_another_order_at_its_position_expires_a_cursor,
    an_event_of_another_time_at_its_position_expires_a_cursor,
);

async fn a_cursor_behind_removed_events_continues(database: Database) {
    let server = Server::start(&database, &[]).await;
    let end = create_orders(&server, 5).await;
    let mut stream = EventStream::open(&server, Some(cursor(&end))).await;
    raise_floor(&database, 5).await;
    remove_below_floor(&database).await;
    // Longer than the interval between two reads of the stream.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(
        read_events(&server, "/api/v1/events").await,
        Vec::<Value>::new()
    );
    // A client without a cursor gets the same one.
    let page = server.get("/api/v1/events").await;
    assert_eq!(cursor(&page.next_link().unwrap()), cursor(&end));
    expect_continues(&server, &end).await;
    assert_eq!(
        stream.next().await.unwrap().data["data"]["product_id"],
        "next"
    );
}

async fn a_cursor_before_removed_events_expires(database: Database) {
    let server = Server::start(&database, &[]).await;
    let page = server.get("/api/v1/events").await;
    let behind_none = page.next_link().unwrap();
    create_orders(&server, 6).await;
    let link_behind = async |count: usize| {
        let page = server.get(&format!("/api/v1/events?limit={count}")).await;
        page.next_link().unwrap()
    };
    let (behind_two, behind_four) = (link_behind(2).await, link_behind(4).await);
    let rest = read_events(&server, &behind_four).await;
    raise_floor(&database, 3).await;
    // The first round is before the events are removed: the floor alone decides.
    for _ in 0..2 {
        for link in [&behind_two, &behind_none] {
            let oldest = expect_expired(&server, link).await;
            assert_eq!(read_events(&server, &oldest).await[1..], rest);
        }
        assert_eq!(read_events(&server, &behind_four).await, rest);
        assert_eq!(read_events(&server, "/api/v1/events").await[1..], rest);
        remove_below_floor(&database).await;
    }
}

async fn a_missing_event_above_the_floor_expires_the_cursor_that_names_it(database: Database) {
    let server = Server::start(&database, &[]).await;
    let end = create_orders(&server, 4).await;
    raise_floor(&database, 2).await;
    remove_below_floor(&database).await;
    let mut stream = EventStream::open(&server, Some(cursor(&end))).await;
    database
        .execute("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")
        .await;
    // A stream at the head detects it as well, and ends.
    assert_eq!(last_id_at_end(&mut stream).await, cursor(&end));
    let oldest = expect_expired(&server, &end).await;
    assert_eq!(read_events(&server, &oldest).await.len(), 1);
}

async fn update_last_event(database: &Database, assignment: &str) {
    let sql = format!("UPDATE events SET {assignment} WHERE seq = (SELECT max(seq) FROM events)");
    database.execute(&sql).await;
}

async fn an_event_of_another_order_at_its_position_expires_a_cursor(database: Database) {
    let server = Server::start(&database, &[]).await;
    let end = create_orders(&server, 2).await;
    // Same position, same version, another order: a transaction id that was assigned twice.
    let other_order = if database.is_postgres() {
        "order_id = gen_random_uuid()"
    } else {
        "order_id = randomblob(16)"
    };
    update_last_event(&database, other_order).await;
    let oldest = expect_expired(&server, &end).await;
    assert_eq!(read_events(&server, &oldest).await.len(), 2);
}

async fn an_event_of_another_time_at_its_position_expires_a_cursor(database: Database) {
    let server = Server::start(&database, &[]).await;
    let end = create_orders(&server, 2).await;
    // A copy of the database in which the order was updated in the same way a microsecond later.
    let later = if database.is_postgres() {
        "occurred_at = occurred_at + interval '1 microsecond'"
    } else {
        "occurred_at = occurred_at + 1"
    };
    update_last_event(&database, later).await;
    let oldest = expect_expired(&server, &end).await;
    assert_eq!(read_events(&server, &oldest).await.len(), 2);
    // Below the floor as well: the removed event is not the one that the client received.
    raise_floor(&database, 2).await;
    remove_below_floor(&database).await;
    expect_expired(&server, &end).await;
}
