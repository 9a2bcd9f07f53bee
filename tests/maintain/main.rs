//! `order-service maintain`: partitions, retention and the archive, on real databases.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod archive_import;
mod archive_races;
mod commands;
mod cursors;
mod keys;
mod late_events;
mod month_under_load;
mod partitions;
mod privileges;
mod walks;

use std::path::Path;
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};

use support::binary::{command, run};
use support::database::Database;
use support::orders::{order_id, order_path};
use support::server::Server;

/// Runs `maintain` until it exits, with these settings and arguments.
fn maintain(database: &Database, settings: &[(&str, &str)], args: &[&str]) -> Output {
    let url = database.url();
    let mut variables = vec![("DATABASE_URL", url.as_str())];
    variables.extend(settings);
    let args: Vec<&str> = [&["maintain"], args].concat();
    run(&args, &variables)
}

/// Starts `maintain`.
fn spawn(database: &Database, settings: &[(&str, &str)], args: &[&str]) -> Child {
    let url = database.url();
    let mut variables = vec![("DATABASE_URL", url.as_str())];
    variables.extend(settings);
    let args: Vec<&str> = [&["maintain"], args].concat();
    command(&args, &variables)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The report of a run, which must have succeeded.
fn report(out: &Output) -> Value {
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Runs `maintain` and returns its report.
fn maintained(database: &Database, settings: &[(&str, &str)]) -> Value {
    report(&maintain(database, settings, &[]))
}

/// Archives orders that did not change for an hour, and returns the report.
fn archive(database: &Database, directory: &Path) -> Value {
    let args = ["--archive-to", directory.to_str().unwrap()];
    report(&maintain(database, &[("ORDER_RETENTION", "1h")], &args))
}

/// SQL for a point in time in the type of the columns of times, so many days ago.
fn days_ago(database: &Database, days: i64) -> String {
    if database.is_postgres() {
        format!("now() - interval '{days} days'")
    } else {
        format!("(unixepoch() - {days} * 86400) * 1000000")
    }
}

/// A partition for the month that contains the point so many days ago.
async fn create_old_partition(database: &Database, days: i64) {
    if database.is_postgres() {
        let sql = format!(
            "DO $$
            DECLARE start timestamp := date_trunc('month', (now() - interval '{days} days') AT TIME ZONE 'UTC');
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
                    'events_' || to_char(start, 'YYYY_MM'), start AT TIME ZONE 'UTC',
                    (start + interval '1 month') AT TIME ZONE 'UTC');
            END $$"
        );
        database.execute(&sql).await;
    }
}

/// Lets the events for which a condition is true be recorded so many days ago.
async fn record_days_ago(database: &Database, days: i64, condition: &str) {
    let time = days_ago(database, days);
    let sql = format!("UPDATE events SET recorded_at = {time} WHERE {condition}");
    database.execute(&sql).await;
}

/// An order in which the time of creation in the id is in the past, with this status.
async fn create_old_order(server: &Server, database: &Database, days: i64, status: &str) -> Value {
    let order = server.create("sku-1").await;
    let path = order_path(&order);
    let steps: &[&str] = match status {
        "delivered" => &["confirmed", "shipped", "delivered"],
        "cancelled" => &["cancelled"],
        "shipped" => &["confirmed", "shipped"],
        _ => &[],
    };
    for step in steps {
        let response = server.patch(&path, &json!({"status": step})).await;
        assert_eq!(response.status(), 200);
    }
    let old_id = make_old(database, order_id(&order), days).await;
    server.get(&format!("/api/v1/orders/{old_id}")).await.json()
}

/// Moves an order into the past: its times, and the time in its id. Returns the new id.
async fn make_old(database: &Database, id: &str, days: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = now.unwrap().as_millis() - u128::try_from(days).unwrap() * 86_400_000;
    let random = id.parse::<uuid::Uuid>().unwrap().as_u128() & (u128::MAX >> 48);
    let old = uuid::Uuid::from_u128((millis << 80) | random).to_string();
    let literal = |id: &str| {
        if database.is_postgres() {
            format!("'{id}'")
        } else {
            format!("x'{}'", id.replace('-', ""))
        }
    };
    let (new, before) = (literal(&old), literal(id));
    let time = days_ago(database, days);
    database
        .execute(&format!(
            "UPDATE orders SET id = {new}, created_at = {time}, updated_at = {time} WHERE id = {before};
            UPDATE order_items SET order_id = {new} WHERE order_id = {before};
            UPDATE idempotency_keys SET order_id = {new}, created_at = {time} WHERE order_id = {before};
            UPDATE events SET order_id = {new} WHERE order_id = {before}"
        ))
        .await;
    old
}
