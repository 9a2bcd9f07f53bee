//! For each kind of violation, an audit finds planted corruption of this kind, and nothing that is not wrong.

mod events;
mod keys;
mod orders;
mod values;

use super::stored::Stored;

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

/// Updates a line of an order.
async fn set_line(stored: &Stored<'_>, id: &str, line: i32, assignment: &str) {
    let order = stored.of(id);
    stored
        .changes(&format!(
            "UPDATE order_items SET {assignment} WHERE {order} AND line = {line}"
        ))
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
