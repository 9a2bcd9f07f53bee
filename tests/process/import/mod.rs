//! `order-service import`.

mod archived;
mod feed;
mod inputs;
mod interruptions;
mod memory;
mod orders;
mod outages;
mod round_trip;

use std::path::{Path, PathBuf};
use std::process::Output;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::binary::{run_on, stderr};
use crate::support::database::Database;

/// A directory with the input of an import.
struct Input {
    dir: TempDir,
}

impl Input {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let input = Self { dir };
        input.write(content);
        input
    }

    fn of(lines: impl IntoIterator<Item = Value>) -> Self {
        Self::new(ndjson(lines))
    }

    fn write(&self, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(), content).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("orders.ndjson")
    }

    fn rejects_path(&self) -> PathBuf {
        self.dir.path().join("orders.ndjson.rejects.ndjson")
    }

    /// The rejects that the last import has left.
    fn rejects(&self) -> Vec<Value> {
        read_ndjson(&self.rejects_path())
    }

    /// Imports into a database.
    fn import(&self, database: &Database) -> Imported {
        self.import_with(database, &[])
    }

    fn import_with(&self, database: &Database, options: &[&str]) -> Imported {
        let path = self.path();
        let args = [&["import", path.to_str().unwrap()], options].concat();
        Imported(run_on(&database.url(), &args))
    }
}

/// An import that has ended.
struct Imported(Output);

impl Imported {
    fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&self.0.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.0))
    }

    /// How many were imported, were present already, and were rejected.
    fn counts(&self) -> (u64, u64, u64) {
        let report = self.report();
        let count = |name: &str| report[name].as_u64().unwrap();
        let counts = (
            count("imported"),
            count("already_present"),
            count("rejected"),
        );
        assert_eq!(count("read"), counts.0 + counts.1 + counts.2, "{report}");
        counts
    }

    fn stderr(&self) -> String {
        stderr(&self.0)
    }
}

fn ndjson(lines: impl IntoIterator<Item = Value>) -> String {
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

fn read_ndjson(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The line of a small order, which was created this many seconds after the beginning of 2020.
fn line(product_id: &str, second: i64) -> Value {
    json!({"product_id": product_id, "quantity": 1, "created_at": at(second)})
}

/// A time this many seconds after the beginning of 2020.
fn at(second: i64) -> String {
    let start: chrono::DateTime<Utc> = "2020-01-01T00:00:00Z".parse().unwrap();
    let at = start + TimeDelta::seconds(second);
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// Small orders, of which every third has an external id.
fn small_orders(count: i64) -> String {
    ndjson((0..count).map(|n| {
        let mut order = line(&format!("sku-{}", n % 50), n);
        if n % 3 == 0 {
            order["external_id"] = format!("shop-{n}").into();
        }
        order
    }))
}

/// Asserts that the database has exactly these orders, each with its lines and exactly one event, `order.imported`.
async fn assert_imported(database: &Database, orders: i64) {
    assert_eq!(database.count("orders").await, orders);
    assert_eq!(database.count("events").await, orders);
    let complete = "SELECT count(*) FROM orders AS o
        JOIN events AS e ON e.tenant = o.tenant AND e.order_id = o.id AND e.version = o.version
        WHERE e.event_type = 'imported' AND e.authtype = 'system' AND e.authid IS NULL
            AND EXISTS (SELECT 1 FROM order_items AS i
                WHERE i.tenant = o.tenant AND i.order_id = o.id AND i.line = 1)";
    assert_eq!(database.number(complete).await, orders);
}
