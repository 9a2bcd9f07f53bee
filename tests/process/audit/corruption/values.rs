//! Values that cannot be read, unique indexes, and the feed.

use super::{plant, set, set_event};
use crate::audit::stored::Stored;
use crate::support::database::Database;

crate::on_both!(
    an_event_that_is_no_json,
    an_event_whose_json_is_no_order,
    a_text_that_is_not_utf8,
    a_null_where_none_may_be,
    an_unknown_status,
    metadata_that_has_other_values_than_texts,
    a_time_that_is_infinite_or_out_of_range,
    a_unique_index_that_is_missing,
    a_unique_index_that_does_not_begin_with_the_tenant,
    a_feed_without_its_row,
    a_feed_that_is_behind,
    a_caller_of_an_unknown_type,
    a_trace_that_is_not_valid,
);

async fn an_event_that_is_no_json(database: Database) {
    let stored = Stored::new(&database).await;
    plant(&stored, "CREATE CAST (text AS json) WITHOUT FUNCTION", "").await;
    let broken = stored.either("'{\"id\":'::text::json", "'{\"id\":'");
    set_event(
        &stored,
        &stored.shipped,
        2,
        &format!("data = {broken}, data_bytes = 6"),
    )
    .await;
    let report = stored.finds(&["unreadable-value"]);
    let example = &report["kinds"]["unreadable-value"]["examples"][0];
    assert_eq!(example["order_id"], stored.shipped);
    assert_eq!(example["version"], 2);
}

async fn an_event_whose_json_is_no_order(database: Database) {
    let stored = Stored::new(&database).await;
    set_event(
        &stored,
        &stored.shipped,
        2,
        "data = '{\"id\":7}', data_bytes = 8",
    )
    .await;
    stored.finds(&["unreadable-value"]);
}

async fn a_text_that_is_not_utf8(database: Database) {
    let stored = Stored::new(&database).await;
    plant(
        &stored,
        "ALTER DOMAIN order_label DROP CONSTRAINT order_label_check;
         CREATE CAST (bytea AS text) WITHOUT FUNCTION",
        "",
    )
    .await;
    let broken = stored.either("('\\x61ff'::bytea)::text", "CAST(x'61ff' AS TEXT)");
    set(&stored, &stored.plain, &format!("customer_id = {broken}")).await;
    let report = stored.finds(&["unreadable-value"]);
    let detail = &report["kinds"]["unreadable-value"]["examples"][0]["detail"];
    assert_eq!(detail, "orders.customer_id is not UTF-8");
}

async fn a_null_where_none_may_be(database: Database) {
    let stored = Stored::new(&database).await;
    plant(
        &stored,
        "ALTER TABLE events ALTER COLUMN event_type DROP NOT NULL",
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_master SET sql = replace(sql, 'event_type TEXT NOT NULL', 'event_type TEXT')
         WHERE name = 'events'",
    )
    .await;
    set_event(&stored, &stored.shipped, 2, "event_type = NULL").await;
    let report = stored.finds(&["unreadable-value"]);
    let detail = &report["kinds"]["unreadable-value"]["examples"][0]["detail"];
    assert_eq!(detail, "events.event_type is NULL");
}

async fn an_unknown_status(database: Database) {
    let stored = Stored::new(&database).await;
    let order = stored.is(&stored.plain);
    let update = format!("UPDATE orders SET status = 'lost' WHERE {order}");
    let allow = stored.either(
        "ALTER DOMAIN order_status DROP CONSTRAINT order_status_check",
        "PRAGMA ignore_check_constraints = ON",
    );
    database.execute(&format!("{allow}; {update}")).await;
    stored.finds(&["unreadable-value"]);
}

async fn metadata_that_has_other_values_than_texts(database: Database) {
    let stored = Stored::new(&database).await;
    set(&stored, &stored.plain, "metadata = '{\"a\": 1}'").await;
    stored.finds(&["unreadable-value"]);
}

async fn a_time_that_is_infinite_or_out_of_range(database: Database) {
    let stored = Stored::new(&database).await;
    let never = stored.either("'infinity'", "9223372036854775807");
    set(&stored, &stored.plain, &format!("updated_at = {never}")).await;
    stored.finds(&["unreadable-value"]);
}

async fn a_unique_index_that_is_missing(database: Database) {
    let stored = Stored::new(&database).await;
    database.execute("DROP INDEX orders_external_id").await;
    stored.finds(&["missing-key"]);
}

async fn a_unique_index_that_does_not_begin_with_the_tenant(database: Database) {
    let stored = Stored::new(&database).await;
    database
        .execute("CREATE UNIQUE INDEX by_time ON orders (created_at, tenant, id)")
        .await;
    let report = stored.finds(&["key-without-tenant"]);
    assert_eq!(report["violations"], 1);
}

async fn a_feed_without_its_row(database: Database) {
    let stored = Stored::new(&database).await;
    database.execute("DELETE FROM feed").await;
    stored.finds(&["feed-not-current"]);
}

async fn a_feed_that_is_behind(database: Database) {
    let stored = Stored::new(&database).await;
    // As after a restore without a migration.
    plant(
        &stored,
        "UPDATE feed SET xid_offset = -1000000",
        "UPDATE sqlite_sequence SET seq = 1",
    )
    .await;
    // On SQLite, an event has no position besides its sequence, from which the next one continues.
    if database.is_postgres() {
        stored.finds(&["feed-not-current", "position-beyond-feed"]);
    } else {
        stored.finds(&["feed-not-current"]);
    }
}

async fn a_caller_of_an_unknown_type(database: Database) {
    let stored = Stored::new(&database).await;
    set_event(&stored, &stored.shipped, 2, "authtype = 'app_user'").await;
    let report = stored.finds(&["unreadable-value"]);
    let detail = &report["kinds"]["unreadable-value"]["examples"][0]["detail"];
    assert_eq!(detail, "events.authtype has an unknown name");
}

async fn a_trace_that_is_not_valid(database: Database) {
    let stored = Stored::new(&database).await;
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let set_trace = async |trace: &str| {
        let assignment = format!("traceparent = '{trace}'");
        set_event(&stored, &stored.shipped, 2, &assignment).await;
    };
    set_trace(valid).await;
    crate::audit::consistent(&database);
    for trace in ["", "ann@example.com", &valid.to_uppercase()] {
        set_trace(trace).await;
        let report = stored.finds(&["unreadable-value"]);
        let detail = &report["kinds"]["unreadable-value"]["examples"][0]["detail"];
        assert_eq!(detail, "events.traceparent is not valid");
    }
}
