//! Events, alone and as a history.

use super::{delete_event, plant, second, set, set_event, set_floor};
use crate::audit::stored::Stored;
use crate::support::database::Database;

crate::on_both!(
    an_event_that_occurred_before_the_previous_one,
    a_version_that_occurs_twice,
    an_event_that_is_missing_between_others,
    an_event_that_is_missing_at_the_end,
    events_that_are_missing_at_the_beginning,
    all_events_of_an_order_are_missing,
    an_event_that_is_missing_above_the_floor,
    an_event_of_a_new_order_that_is_missing_though_retention_has_only_reached_old_ones,
    an_order_that_is_created_twice,
    an_order_that_begins_with_an_update,
    an_event_with_the_version_of_another,
    an_event_of_another_time_than_its_document,
    an_event_of_an_order_that_does_not_exist,
    an_order_that_exists_under_another_tenant_only,
    a_status_that_may_not_follow,
    a_customer_that_changed,
    lines_that_changed_after_the_order_was_confirmed,
    an_order_that_differs_from_its_last_event,
    a_line_that_differs_from_the_last_event,
    a_version_without_an_event,
    events_in_another_order_than_their_versions,
    an_event_that_was_recorded_in_the_future,
    an_event_that_was_recorded_before_it_occurred,
    a_floor_at_the_end_of_a_feed_from_which_nothing_was_removed,
    a_floor_beyond_the_end_of_the_feed,
);

async fn an_event_that_occurred_before_the_previous_one(database: Database) {
    let stored = Stored::new(&database).await;
    let second = second(&stored);
    let assignment = format!("occurred_at = occurred_at + {second}");
    set_event(&stored, &stored.shipped, 2, &assignment).await;
    stored.finds(&["time-order", "event-mismatch"]);
}

async fn a_version_that_occurs_twice(database: Database) {
    let stored = Stored::new(&database).await;
    plant(&stored, "", "DROP INDEX events_of_order").await;
    let columns = "tenant, order_id, version, event_type, occurred_at, data, data_bytes, authtype";
    let (name, value) = (
        stored.either(", position, recorded_at", ", recorded_at"),
        stored.either(
            ", position, recorded_at + interval '1 second'",
            ", recorded_at + 1",
        ),
    );
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "INSERT INTO events ({columns}{name}) SELECT {columns}{value} FROM events
            WHERE {order} AND version = 2"
        ))
        .await;
    if database.is_postgres() {
        stored.finds(&["event-duplicate"]);
    } else {
        stored.finds(&["event-duplicate", "missing-key"]);
    }
}

async fn an_event_that_is_missing_between_others(database: Database) {
    let stored = Stored::new(&database).await;
    delete_event(&stored, &stored.shipped, "version = 3").await;
    let report = stored.finds(&["event-gap"]);
    assert_eq!(report["kinds"]["event-gap"]["examples"][0]["version"], 4);
}

async fn an_event_that_is_missing_at_the_end(database: Database) {
    let stored = Stored::new(&database).await;
    delete_event(&stored, &stored.shipped, "version = 4").await;
    stored.finds(&["event-gap"]);
}

async fn events_that_are_missing_at_the_beginning(database: Database) {
    let stored = Stored::new(&database).await;
    delete_event(&stored, &stored.shipped, "version <= 2").await;
    let report = stored.finds(&["event-missing"]);
    assert_eq!(
        report["kinds"]["event-missing"]["examples"][0]["version"],
        2
    );
}

async fn all_events_of_an_order_are_missing(database: Database) {
    let stored = Stored::new(&database).await;
    delete_event(&stored, &stored.plain, "version > 0").await;
    stored.finds(&["event-missing"]);
}

async fn an_event_that_is_missing_above_the_floor(database: Database) {
    let stored = Stored::new(&database).await;
    set_floor(&stored, &stored.shipped, 1).await;
    delete_event(&stored, &stored.shipped, "version = 1").await;
    crate::audit::consistent(&database);
    delete_event(&stored, &stored.shipped, "version = 2").await;
    let report = stored.finds(&["event-missing"]);
    assert_eq!(
        report["kinds"]["event-missing"]["examples"][0]["version"],
        2
    );
}

async fn an_event_of_a_new_order_that_is_missing_though_retention_has_only_reached_old_ones(
    database: Database,
) {
    let stored = Stored::new(&database).await;
    set_floor(&stored, &stored.shipped, 1).await;
    delete_event(&stored, &stored.shipped, "version = 1").await;
    delete_event(&stored, &stored.plain, "version = 1").await;
    // The clocks of the service and of the database may differ by this much.
    crate::audit::consistent(&database);
    let day = stored.either("interval '1 day'", "86400000000");
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "UPDATE events SET recorded_at = recorded_at - {day} WHERE {order}"
        ))
        .await;
    let report = stored.finds(&["event-missing", "recorded-time"]);
    let examples = &report["kinds"]["event-missing"]["examples"];
    assert!(examples.to_string().contains(&stored.plain), "{examples}");
}

async fn an_order_that_is_created_twice(database: Database) {
    let stored = Stored::new(&database).await;
    set_event(&stored, &stored.cancelled, 2, "event_type = 'created'").await;
    stored.finds(&["event-type", "idempotency-document", "illegal-change"]);
}

async fn an_order_that_begins_with_an_update(database: Database) {
    let stored = Stored::new(&database).await;
    set_event(&stored, &stored.plain, 1, "event_type = 'updated'").await;
    stored.finds(&["event-type"]);
}

async fn an_event_with_the_version_of_another(database: Database) {
    let stored = Stored::new(&database).await;
    let event = format!("{} AND version = 2", stored.of(&stored.shipped));
    stored
        .replace_in_events(&event, "\"version\":2", "\"version\":3")
        .await;
    stored.finds(&["event-mismatch"]);
}

async fn an_event_of_another_time_than_its_document(database: Database) {
    let stored = Stored::new(&database).await;
    let second = second(&stored);
    let assignment = format!("occurred_at = occurred_at + {second}");
    set_event(&stored, &stored.shipped, 4, &assignment).await;
    stored.finds(&["event-mismatch"]);
}

async fn an_event_of_an_order_that_does_not_exist(database: Database) {
    let stored = Stored::new(&database).await;
    let (order, row) = (stored.of(&stored.plain), stored.is(&stored.plain));
    stored
        .changes(&format!("DELETE FROM order_items WHERE {order}"))
        .await;
    stored
        .changes(&format!("DELETE FROM orders WHERE {row}"))
        .await;
    stored.finds(&["event-without-order"]);
}

async fn an_order_that_exists_under_another_tenant_only(database: Database) {
    let stored = Stored::new(&database).await;
    set(&stored, &stored.cancelled, "tenant = 'other'").await;
    stored.finds(&[
        "event-without-order",
        "line-without-order",
        "idempotency-key-without-order",
        "event-missing",
        "line-number",
        "illegal-order",
        "length-mismatch",
    ]);
}

async fn a_status_that_may_not_follow(database: Database) {
    let stored = Stored::new(&database).await;
    let event = format!("{} AND version = 3", stored.of(&stored.shipped));
    stored
        .replace_in_events(
            &event,
            "\"status\":\"confirmed\"",
            "\"status\":\"cancelled\"",
        )
        .await;
    stored.finds(&["illegal-transition"]);
}

async fn a_customer_that_changed(database: Database) {
    let stored = Stored::new(&database).await;
    let event = format!("{} AND version = 2", stored.of(&stored.shipped));
    stored.replace_in_events(&event, "Zoë", "Eve").await;
    let report = stored.finds(&["illegal-change"]);
    // The report has no personal data.
    assert!(!report.to_string().contains("Eve") && !report.to_string().contains("Zo"));
}

async fn lines_that_changed_after_the_order_was_confirmed(database: Database) {
    let stored = Stored::new(&database).await;
    let event = format!("{} AND version = 4", stored.of(&stored.shipped));
    stored
        .replace_in_events(
            &event,
            "\"product_id\":\"sku-2\"",
            "\"product_id\":\"sku-9\"",
        )
        .await;
    stored.finds(&["illegal-change", "order-mismatch"]);
}

async fn an_order_that_differs_from_its_last_event(database: Database) {
    let stored = Stored::new(&database).await;
    set(
        &stored,
        &stored.shipped,
        "metadata = '{\"a\": \"1\", \"c\": \"3\"}'",
    )
    .await;
    // The event also has the note.
    stored.finds(&["order-mismatch", "length-mismatch"]);
}

async fn a_line_that_differs_from_the_last_event(database: Database) {
    let stored = Stored::new(&database).await;
    let order = stored.of(&stored.plain);
    stored
        .changes(&format!(
            "UPDATE order_items SET quantity = 3 WHERE {order}"
        ))
        .await;
    stored.finds(&["order-mismatch"]);
}

async fn a_version_without_an_event(database: Database) {
    let stored = Stored::new(&database).await;
    set(&stored, &stored.plain, "version = 2").await;
    stored.finds(&["event-gap"]);
    // An event without a version of the order.
    set(&stored, &stored.plain, "version = 1").await;
    set(&stored, &stored.shipped, "version = 3").await;
    stored.finds(&["order-mismatch"]);
}

async fn events_in_another_order_than_their_versions(database: Database) {
    let stored = Stored::new(&database).await;
    let assignment = stored.either("position = position - 100", "seq = -5");
    set_event(&stored, &stored.shipped, 3, assignment).await;
    stored.finds(&["position-order"]);
}

async fn an_event_that_was_recorded_in_the_future(database: Database) {
    let stored = Stored::new(&database).await;
    let later = stored.either("interval '2 hours'", "7200000000");
    let assignment = format!("recorded_at = recorded_at + {later}");
    set_event(&stored, &stored.shipped, 2, &assignment).await;
    let report = stored.finds(&["recorded-time"]);
    let example = &report["kinds"]["recorded-time"]["examples"][0];
    assert_eq!(example["version"], 2);
}

async fn an_event_that_was_recorded_before_it_occurred(database: Database) {
    let stored = Stored::new(&database).await;
    stored.import_erase_archive_and_prune().await;
    let earlier = stored.either("interval '2 hours'", "7200000000");
    let assignment = format!("recorded_at = recorded_at - {earlier}");
    // Another system's clock is not compared.
    set_event(&stored, &stored.plain, 3, &assignment).await;
    crate::audit::consistent(&database);
    set_event(&stored, &stored.shipped, 4, &assignment).await;
    let report = stored.finds(&["recorded-time"]);
    assert_eq!(report["violations"], 1);
}

async fn a_floor_at_the_end_of_a_feed_from_which_nothing_was_removed(database: Database) {
    let stored = Stored::new(&database).await;
    set_floor(&stored, &stored.cancelled, 3).await;
    let report = stored.finds(&["event-below-floor"]);
    let below = "SELECT count(*) FROM events JOIN feed_floors AS f USING (tenant)
        WHERE events.seq <= f.seq";
    let below = database.number(below).await;
    assert!(below > 5);
    assert_eq!(report["violations"], below);
}

async fn a_floor_beyond_the_end_of_the_feed(database: Database) {
    let stored = Stored::new(&database).await;
    set_floor(&stored, &stored.cancelled, 3).await;
    let beyond = stored.either("position = position + 1000000000", "seq = seq + 1000000000");
    stored
        .changes(&format!("UPDATE feed_floors SET {beyond}"))
        .await;
    stored.finds(&["event-below-floor", "feed-not-current"]);
}
