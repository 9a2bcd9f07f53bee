//! An archive can be imported again, whatever the versions of its orders.

use std::path::Path;

use serde_json::{Value, json};

use super::archive::{archived, files};
use crate::support::binary::{migrate, run_on, stderr};
use crate::support::database::Database;
use crate::{maintain, report};

crate::on_both!(orders_of_the_highest_version_return_from_the_archive);

/// The maximum version of a line of an import.
const MAX_VERSION: i64 = 2_000_000_000;

fn import(database: &Database, file: &Path) -> Value {
    let out = run_on(&database.url(), &["import", file.to_str().unwrap()]);
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The versions of the orders in the archive.
fn versions(directory: &Path) -> Vec<i64> {
    let lines = archived(directory).into_values();
    let version = |line: String| {
        let order: Value = serde_json::from_str(&line).unwrap();
        order["version"].as_i64().unwrap()
    };
    let mut versions: Vec<_> = lines.map(version).collect();
    versions.sort_unstable();
    versions
}

async fn orders_of_the_highest_version_return_from_the_archive(database: Database) {
    migrate(&database);
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("input");
    let lines = [1, 1_000_000_000, MAX_VERSION - 1, MAX_VERSION].map(|version| {
        let order = json!({"product_id": "a", "quantity": 1, "created_at": "2020-01-01T00:00:00Z",
            "status": "delivered", "version": version});
        format!("{order}\n")
    });
    std::fs::write(&input, lines.concat()).unwrap();
    assert_eq!(import(&database, &input)["imported"], 4);
    let archive = dir.path().join("archive");
    std::fs::create_dir(&archive).unwrap();
    let args = ["--archive-to", archive.to_str().unwrap()];
    let out = maintain(&database, &[("ORDER_RETENTION", "1d")], &args);
    // The archive has no line that an import would reject, so the last order stays.
    assert_eq!(report(&out)["orders_archived"], 3);
    assert!(stderr(&out).contains("too high"), "{}", stderr(&out));
    let last = format!("orders WHERE version = {MAX_VERSION}");
    assert_eq!(database.count(&last).await, 1);
    assert_eq!(versions(&archive), [2, 1_000_000_001, MAX_VERSION]);
    let file = archive.join(&files(&archive, ".ndjson")[0]);
    // Into an empty database with the versions of the lines, and into this one with the next ones.
    let other = match &database {
        Database::Sqlite(_) => Database::sqlite(),
        Database::Postgres { .. } => Database::postgres().await,
    };
    migrate(&other);
    for (database, versions) in [
        (&other, [2, 1_000_000_001, MAX_VERSION]),
        (&database, [3, 1_000_000_002, MAX_VERSION + 1]),
    ] {
        assert_eq!(import(database, &file)["imported"], 3);
        for version in versions {
            let imported = format!("orders WHERE version = {version}");
            assert_eq!(database.count(&imported).await, 1, "{version}");
        }
        let audit = run_on(&database.url(), &["audit"]);
        assert!(audit.status.success(), "{audit:?}");
    }
}
