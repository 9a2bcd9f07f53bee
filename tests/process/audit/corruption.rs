//! For each kind of violation, an audit finds planted corruption of this kind, and nothing that is not wrong.

use super::run_on;
use super::stored::{Stored, report_of};
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
    two_orders_with_the_same_key,
    an_order_with_a_currency_but_without_amounts,
    a_quantity_out_of_range,
    a_total_that_is_not_the_sum_of_the_lines,
    a_total_of_an_event_that_is_not_the_sum_of_its_lines,
    a_line_that_is_missing,
    a_line_without_the_status_of_its_order,
    a_later_line_of_a_product_with_a_status,
    a_line_of_an_order_of_another_tenant,
    a_length_of_an_order_that_is_wrong,
    a_length_of_an_event_that_is_wrong,
    an_order_that_was_created_at_another_time_than_its_id,
    an_order_that_was_updated_before_it_was_created,
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
    an_idempotency_key_of_an_order_that_does_not_exist,
    two_idempotency_keys_of_one_order,
    a_document_of_an_idempotency_key_that_is_not_the_first_version,
    a_document_of_an_idempotency_key_without_an_event,
    personal_data_that_an_erasure_left,
    an_archived_order_that_was_not_removed,
    an_order_whose_last_event_is_its_archiving,
    an_archived_order_of_another_customer_than_its_events,
    an_archived_order_whose_last_event_is_not_its_archiving,
);

/// Runs SQL for one of the databases.
async fn plant(stored: &Stored<'_>, postgres: &'static str, sqlite: &'static str) {
    stored
        .database
        .execute(stored.either(postgres, sqlite))
        .await;
}

/// Updates the row of an order.
async fn set(stored: &Stored<'_>, id: &str, assignment: &str) {
    let order = stored.is(id);
    stored
        .changes(&format!("UPDATE orders SET {assignment} WHERE {order}"))
        .await;
}

/// Updates a version's event.
async fn set_event(stored: &Stored<'_>, id: &str, version: i32, assignment: &str) {
    let order = stored.of(id);
    stored
        .changes(&format!(
            "UPDATE events SET {assignment} WHERE {order} AND version = {version}"
        ))
        .await;
}

async fn delete_event(stored: &Stored<'_>, id: &str, condition: &str) {
    let order = stored.of(id);
    stored
        .changes(&format!("DELETE FROM events WHERE {order} AND {condition}"))
        .await;
}

/// An interval in microseconds or as PostgreSQL has it.
fn second(stored: &Stored<'_>) -> &'static str {
    stored.either("interval '1 second'", "1000000")
}

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

async fn two_orders_with_the_same_key(database: Database) {
    let stored = Stored::new(&database).await;
    plant(
        &stored,
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
        "CREATE TABLE copy AS SELECT * FROM orders; DROP TABLE orders; ALTER TABLE copy RENAME TO orders;
         CREATE UNIQUE INDEX orders_external_id ON orders (tenant, external_id)",
    )
    .await;
    let order = stored.is(&stored.plain);
    stored
        .changes(&format!(
            "INSERT INTO orders SELECT * FROM orders WHERE {order}"
        ))
        .await;
    stored.finds(&["duplicate-order", "missing-key"]);
}

async fn an_order_with_a_currency_but_without_amounts(database: Database) {
    let stored = Stored::new(&database).await;
    set(&stored, &stored.plain, "currency = 'EUR'").await;
    stored.finds(&["illegal-order", "length-mismatch", "order-mismatch"]);
}

async fn a_quantity_out_of_range(database: Database) {
    let stored = Stored::new(&database).await;
    let order = stored.of(&stored.plain);
    let allow = stored.either(
        "ALTER DOMAIN order_quantity DROP CONSTRAINT order_quantity_check",
        "PRAGMA ignore_check_constraints = ON",
    );
    database
        .execute(&format!(
            "{allow}; UPDATE order_items SET quantity = 0 WHERE {order}"
        ))
        .await;
    stored.finds(&["illegal-order", "order-mismatch"]);
}

async fn a_total_that_is_not_the_sum_of_the_lines(database: Database) {
    let stored = Stored::new(&database).await;
    set(&stored, &stored.shipped, "total_amount = total_amount + 1").await;
    stored.finds(&["total-mismatch", "order-mismatch"]);
}

async fn a_total_of_an_event_that_is_not_the_sum_of_its_lines(database: Database) {
    let stored = Stored::new(&database).await;
    let event = format!("{} AND version = 2", stored.of(&stored.shipped));
    stored
        .replace_in_events(&event, "\"total_amount\":1700", "\"total_amount\":1701")
        .await;
    stored.finds(&["total-mismatch"]);
}

async fn a_line_that_is_missing(database: Database) {
    let stored = Stored::new(&database).await;
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "DELETE FROM order_items WHERE {order} AND line = 2"
        ))
        .await;
    stored.finds(&[
        "line-number",
        "total-mismatch",
        "order-mismatch",
        "length-mismatch",
    ]);
}

async fn a_line_without_the_status_of_its_order(database: Database) {
    let stored = Stored::new(&database).await;
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "UPDATE order_items SET status = 'pending' WHERE {order} AND line = 2"
        ))
        .await;
    stored.finds(&["line-status"]);
}

async fn a_later_line_of_a_product_with_a_status(database: Database) {
    let stored = Stored::new(&database).await;
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "UPDATE order_items SET status = 'shipped' WHERE {order} AND line = 3"
        ))
        .await;
    stored.finds(&["line-status"]);
}

async fn a_line_of_an_order_of_another_tenant(database: Database) {
    let stored = Stored::new(&database).await;
    let order = stored.of(&stored.plain);
    stored
        .changes(&format!(
            "INSERT INTO order_items SELECT 'other', order_id, line, product_id, quantity, unit_amount, status
            FROM order_items WHERE {order}"
        ))
        .await;
    let report = stored.finds(&["line-without-order"]);
    assert_eq!(
        report["kinds"]["line-without-order"]["examples"][0]["tenant"],
        "other"
    );
}

async fn a_length_of_an_order_that_is_wrong(database: Database) {
    let stored = Stored::new(&database).await;
    set(&stored, &stored.plain, "json_bytes = json_bytes + 1").await;
    stored.finds(&["length-mismatch"]);
}

async fn a_length_of_an_event_that_is_wrong(database: Database) {
    let stored = Stored::new(&database).await;
    set_event(&stored, &stored.shipped, 1, "data_bytes = data_bytes - 1").await;
    stored.finds(&["length-mismatch"]);
}

async fn an_order_that_was_created_at_another_time_than_its_id(database: Database) {
    let stored = Stored::new(&database).await;
    let second = second(&stored);
    set(
        &stored,
        &stored.plain,
        &format!("created_at = created_at - {second}"),
    )
    .await;
    stored.finds(&["id-time", "order-mismatch"]);
}

async fn an_order_that_was_updated_before_it_was_created(database: Database) {
    let stored = Stored::new(&database).await;
    let second = second(&stored);
    set(
        &stored,
        &stored.plain,
        &format!("updated_at = updated_at - {second}"),
    )
    .await;
    stored.finds(&["time-order", "order-mismatch"]);
}

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

/// Sets the floor of the tenant to the event of an order.
async fn set_floor(stored: &Stored<'_>, id: &str, version: i32) {
    let position = stored.either("position, ", "");
    let order = stored.of(id);
    stored
        .changes(&format!(
            "INSERT INTO feed_floors (tenant, {position}seq, order_id, version, occurred_at)
            SELECT tenant, {position}seq, order_id, version, occurred_at FROM events
            WHERE {order} AND version = {version}"
        ))
        .await;
}

async fn an_event_that_is_missing_above_the_floor(database: Database) {
    let stored = Stored::new(&database).await;
    set_floor(&stored, &stored.shipped, 1).await;
    delete_event(&stored, &stored.shipped, "version = 1").await;
    super::consistent(&database);
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
    super::consistent(&database);
    let day = stored.either("interval '1 day'", "86400000000");
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "UPDATE events SET recorded_at = recorded_at - {day} WHERE {order}"
        ))
        .await;
    let report = stored.finds(&["event-missing"]);
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

async fn an_idempotency_key_of_an_order_that_does_not_exist(database: Database) {
    let stored = Stored::new(&database).await;
    let (order, row) = (stored.of(&stored.cancelled), stored.is(&stored.cancelled));
    for sql in [
        format!("DELETE FROM order_items WHERE {order}"),
        format!("DELETE FROM events WHERE {order}"),
        format!("DELETE FROM orders WHERE {row}"),
    ] {
        stored.changes(&sql).await;
    }
    stored.finds(&["idempotency-key-without-order"]);
}

async fn two_idempotency_keys_of_one_order(database: Database) {
    let stored = Stored::new(&database).await;
    database
        .execute("DROP INDEX idempotency_keys_order_id")
        .await;
    let hash = stored.either("sha256('another')", "randomblob(32)");
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "INSERT INTO idempotency_keys
            SELECT tenant, {hash}, order_id, request_hash, hash_version, document, created_at
            FROM idempotency_keys WHERE {order}"
        ))
        .await;
    stored.finds(&["idempotency-key-duplicate", "missing-key"]);
}

async fn a_document_of_an_idempotency_key_that_is_not_the_first_version(database: Database) {
    let stored = Stored::new(&database).await;
    let text = stored.either("document::text", "document");
    let document = stored.document(&format!(
        "replace({text}, '\"version\":1', '\"version\":2')"
    ));
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "UPDATE idempotency_keys SET document = {document} WHERE {order}"
        ))
        .await;
    stored.finds(&["idempotency-document"]);
}

async fn a_document_of_an_idempotency_key_without_an_event(database: Database) {
    let stored = Stored::new(&database).await;
    set_floor(&stored, &stored.shipped, 1).await;
    delete_event(&stored, &stored.shipped, "version = 1").await;
    let text = stored.either("document::text", "document");
    let document = stored.document(&format!("replace({text}, 'shop-1', 'shop-9')"));
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "UPDATE idempotency_keys SET document = {document} WHERE {order}"
        ))
        .await;
    stored.finds(&["idempotency-document"]);
}

async fn personal_data_that_an_erasure_left(database: Database) {
    let stored = Stored::new(&database).await;
    stored.import_erase_archive_and_prune().await;
    let event = format!("{} AND version = 3", stored.of(&stored.shipped));
    let text = ("\"metadata\":{}", "\"metadata\":{\"a\":\"b\"}");
    stored.replace_in_events(&event, text.0, text.1).await;
    stored.finds(&["erasure-incomplete"]);
    stored.replace_in_events(&event, text.1, text.0).await;
    super::consistent(&database);
    let before = format!("{} AND version < 5", stored.of(&stored.shipped));
    stored.replace_in_events(&before, "erased-7f", "Eve").await;
    stored.finds(&["erasure-incomplete"]);
    // An erasure that is not finished will redact it.
    let erasure = stored.id("00000000-0000-0000-0000-000000000007");
    let order = stored.id(&stored.shipped);
    database
        .execute(&format!(
            "INSERT INTO erasure_orders (tenant, erasure_id, order_id, version)
            VALUES ('default', {erasure}, {order}, 5)"
        ))
        .await;
    super::consistent(&database);
}

async fn an_archived_order_that_was_not_removed(database: Database) {
    let stored = Stored::new(&database).await;
    let now = stored.either("now()", "0");
    let order = stored.is(&stored.plain);
    stored
        .changes(&format!(
            "INSERT INTO archived_orders (tenant, order_id, version, archived_at)
            SELECT tenant, id, version, {now} FROM orders WHERE {order}"
        ))
        .await;
    stored.finds(&["archived-order-present"]);
}

async fn an_order_whose_last_event_is_its_archiving(database: Database) {
    let stored = Stored::new(&database).await;
    set_event(&stored, &stored.shipped, 4, "event_type = 'archived'").await;
    // A shipped order is not archived, and archiving changes no status.
    stored.finds(&["archived-order-present", "illegal-transition"]);
}

async fn an_archived_order_of_another_customer_than_its_events(database: Database) {
    let stored = Stored::new(&database).await;
    stored.archive(&stored.cancelled).await;
    stored
        .changes("UPDATE archived_orders SET customer_id = 'somebody else'")
        .await;
    stored.finds(&["archived-order-event"]);
}

async fn an_archived_order_whose_last_event_is_not_its_archiving(database: Database) {
    let stored = Stored::new(&database).await;
    stored.archive(&stored.cancelled).await;
    super::consistent(&database);
    delete_event(&stored, &stored.cancelled, "event_type = 'archived'").await;
    stored.finds(&["archived-order-event"]);
}

/// PostgreSQL only: on SQLite, a sequence is its own position.
#[tokio::test]
async fn a_position_that_no_transaction_has_had() {
    let database = Database::postgres().await;
    let stored = Stored::new(&database).await;
    set_event(&stored, &stored.shipped, 4, "position = 1000000000").await;
    stored.finds(&["position-beyond-feed", "feed-not-current"]);
}

/// A count is complete, and the examples are few.
#[tokio::test]
async fn the_report_is_short_when_everything_is_wrong() {
    let database = Database::sqlite();
    let stored = Stored::new(&database).await;
    stored.copy_orders(2_000).await;
    database
        .execute("UPDATE orders SET json_bytes = json_bytes + 1")
        .await;
    let out = run_on(&database.url(), &["audit"]);
    let report = report_of(&out);
    let found = &report["kinds"]["length-mismatch"];
    assert_eq!(found["count"], database.count("orders").await);
    assert_eq!(found["examples"].as_array().unwrap().len(), 10);
}
