//! Idempotency keys, erasures and archived orders.

use super::{delete_event, set_event, set_floor};
use crate::audit::stored::{Stored, report_of};
use crate::support::binary::run_on;
use crate::support::database::Database;

crate::on_both!(
    an_idempotency_key_of_an_order_that_does_not_exist,
    two_idempotency_keys_of_one_order,
    a_document_of_an_idempotency_key_that_is_not_the_first_version,
    a_document_of_an_idempotency_key_without_an_event,
    personal_data_that_an_erasure_left,
    an_order_in_the_worklist_of_an_erasure_that_is_done,
    an_archived_order_that_was_not_removed,
    an_order_whose_last_event_is_its_archiving,
    an_archived_order_of_another_customer_than_its_events,
    an_archived_order_whose_last_event_is_not_its_archiving,
);

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

/// Replaces a text in the document of the idempotency key of an order.
async fn replace_in_document(stored: &Stored<'_>, from: &str, to: &str) {
    let text = stored.either("document::text", "document");
    let document = stored.document(&format!("replace({text}, '{from}', '{to}')"));
    let order = stored.of(&stored.shipped);
    stored
        .changes(&format!(
            "UPDATE idempotency_keys SET document = {document} WHERE {order}"
        ))
        .await;
}

async fn a_document_of_an_idempotency_key_that_is_not_the_first_version(database: Database) {
    let stored = Stored::new(&database).await;
    replace_in_document(&stored, "\"version\":1", "\"version\":2").await;
    stored.finds(&["idempotency-document"]);
}

async fn a_document_of_an_idempotency_key_without_an_event(database: Database) {
    let stored = Stored::new(&database).await;
    set_floor(&stored, &stored.shipped, 1).await;
    delete_event(&stored, &stored.shipped, "version = 1").await;
    replace_in_document(&stored, "shop-1", "shop-9").await;
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
    crate::audit::consistent(&database);
    let before = format!("{} AND version < 5", stored.of(&stored.shipped));
    stored.replace_in_events(&before, "erased-7f", "Eve").await;
    stored.finds(&["erasure-incomplete"]);
    // An erasure that is not finished will redact it.
    insert_unfinished_erasure(&stored, &stored.shipped).await;
    crate::audit::consistent(&database);
    finish_erasures(&stored).await;
    stored.finds(&["erasure-incomplete", "erasure-leftover"]);
}

/// An erasure with an order in its worklist.
async fn insert_unfinished_erasure(stored: &Stored<'_>, order: &str) {
    let erasure = stored.id("00000000-0000-0000-0000-000000000007");
    let (order, now) = (stored.id(order), stored.either("now()", "0"));
    let sql = format!(
        "INSERT INTO erasures (tenant, id, customer_id, pseudonym, authtype, requested_at)
            VALUES ('default', {erasure}, 'Eve', 'erased-7f', 'api_key', {now});
        INSERT INTO erasure_orders (tenant, erasure_id, order_id, version)
            VALUES ('default', {erasure}, {order}, 5)"
    );
    stored.database.execute(&sql).await;
}

async fn finish_erasures(stored: &Stored<'_>) {
    let now = stored.either("now()", "0");
    stored
        .changes(&format!(
            "UPDATE erasures SET customer_id = NULL, pseudonym = NULL, finished_at = {now}"
        ))
        .await;
}

async fn an_order_in_the_worklist_of_an_erasure_that_is_done(database: Database) {
    let stored = Stored::new(&database).await;
    insert_unfinished_erasure(&stored, &stored.plain).await;
    crate::audit::consistent(&database);
    finish_erasures(&stored).await;
    let report = stored.finds(&["erasure-leftover"]);
    assert_eq!(report["violations"], 1);
    stored.changes("DELETE FROM erasures").await;
    stored.finds(&["erasure-leftover"]);
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
    crate::audit::consistent(&database);
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
