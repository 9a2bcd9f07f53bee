//! Orders and their lines.

use super::{plant, second, set, set_event, set_line};
use crate::audit::stored::Stored;
use crate::support::database::Database;

crate::on_both!(
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
);

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
    set_line(&stored, &stored.shipped, 2, "status = 'pending'").await;
    stored.finds(&["line-status"]);
}

async fn a_later_line_of_a_product_with_a_status(database: Database) {
    let stored = Stored::new(&database).await;
    set_line(&stored, &stored.shipped, 3, "status = 'shipped'").await;
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
