//! Orders are never lost, whatever happens while they are archived.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::archive::{archived, files, insert_old_orders};
use crate::support::binary::{BINARY, migrate, stderr};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::Server;
use crate::{archive, maintain, report, spawn};

crate::on_both!(
    an_order_is_in_the_database_or_in_a_file_after_any_kill,
    an_order_that_changes_meanwhile_stays_and_leaves_the_file,
);

const SETTINGS: [(&str, &str); 1] = [("ORDER_RETENTION", "1h")];

/// The ids of the orders in the database.
async fn stored(database: &Database) -> BTreeSet<String> {
    if database.is_postgres() {
        let client = database.client().await;
        let rows = client
            .query("SELECT id::text FROM orders", &[])
            .await
            .unwrap();
        return rows.iter().map(|row| row.get(0)).collect();
    }
    let out = Command::new("sqlite3")
        .args([&database.file(), "SELECT lower(hex(id)) FROM orders"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let id = |hex: &str| hex.parse::<uuid::Uuid>().unwrap().to_string();
    text.lines().map(id).collect()
}

async fn an_order_is_in_the_database_or_in_a_file_after_any_kill(database: Database) {
    migrate(&database);
    let count = 2_000;
    insert_old_orders(&database, count).await;
    let all = stored(&database).await;
    let dir = tempfile::tempdir().unwrap();
    let args = ["--archive-to", dir.path().to_str().unwrap()];
    let (mut rounds, mut partly_removed) = (0, 0);
    while !stored(&database).await.is_empty() && rounds < 15 {
        rounds += 1;
        let mut process = spawn(&database, &SETTINGS, &args);
        let random = u64::try_from(uuid::Uuid::new_v4().as_u128() % 400).unwrap();
        if rounds % 2 == 0 {
            // A random point of the run, which takes longer and longer.
            tokio::time::sleep(Duration::from_millis(random + 25 * rounds)).await;
        } else {
            // A random point after the first removal.
            let before = database.count("orders").await;
            eventually("orders are removed", Duration::from_secs(30), async || {
                database.count("orders").await < before
            })
            .await;
            tokio::time::sleep(Duration::from_millis(random / 8)).await;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        let left = stored(&database).await;
        partly_removed += u32::from(!left.is_empty() && left.len() < all.len());
        let in_files: BTreeSet<_> = archived(dir.path()).into_keys().collect();
        let known: BTreeSet<_> = left.union(&in_files).cloned().collect();
        assert_eq!(known, all, "round {rounds}");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    archive(&database, dir.path());
    assert_eq!(stored(&database).await, BTreeSet::new());
    assert_eq!(
        archived(dir.path()).into_keys().collect::<BTreeSet<_>>(),
        all
    );
    assert_eq!(
        files(dir.path(), ".partial").len(),
        0,
        "abandoned files are removed"
    );
    // Each was removed once, whatever number of files it is in.
    assert_eq!(
        database.count("events WHERE event_type = 'archived'").await,
        count
    );
    assert_eq!(database.count("archived_orders").await, count);
    eprintln!("{rounds} kills, {partly_removed} of them between removals");
    assert!(partly_removed > 0);
}

async fn an_order_that_changes_meanwhile_stays_and_leaves_the_file(database: Database) {
    let server = Arc::new(Server::start(&database, &[]).await);
    let count = 3_000;
    insert_old_orders(&database, count).await;
    let all = stored(&database).await;
    let dir = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    // Updates random orders while they are archived.
    let updates: Vec<_> = (0..4)
        .map(|_| {
            let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
            let ids: Vec<String> = all.iter().cloned().collect();
            tokio::spawn(async move {
                let mut updated = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let random =
                        uuid::Uuid::new_v4().as_u128() % u128::try_from(ids.len()).unwrap();
                    let id = &ids[usize::try_from(random).unwrap()];
                    let body = json!({"metadata": {"changed": random.to_string()}});
                    let response = server.patch(&format!("/api/v1/orders/{id}"), &body).await;
                    match response.status() {
                        200 => drop(updated.insert(id.clone())),
                        404 => {}
                        other => panic!("{other}"),
                    }
                }
                updated
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let process = spawn(
        &database,
        &SETTINGS,
        &["--archive-to", dir.path().to_str().unwrap()],
    );
    let out = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    let report = report(&out.await.unwrap());
    stop.store(true, Ordering::Relaxed);
    let mut updated = BTreeSet::new();
    for task in updates {
        updated.extend(task.await.unwrap());
    }
    eprintln!("{} orders changed: {report}", updated.len());
    let left = stored(&database).await;
    assert_eq!(left, updated, "exactly the changed orders stay");
    let archived: BTreeSet<_> = archived(dir.path()).into_keys().collect();
    assert_eq!(archived, all.difference(&updated).cloned().collect());
    assert_eq!(report["orders_archived"], archived.len());
    // Each order has each version once.
    let doubled = "(SELECT order_id, version FROM events GROUP BY order_id, version HAVING count(*) > 1) AS d";
    assert_eq!(database.count(doubled).await, 0);
}

#[tokio::test]
async fn an_order_that_another_transaction_has_locked_stays() {
    let database = Database::postgres().await;
    migrate(&database);
    insert_old_orders(&database, 3).await;
    let dir = tempfile::tempdir().unwrap();
    let lock = database
        .begin(
            "SELECT FROM orders WHERE id = (SELECT id FROM orders ORDER BY id LIMIT 1) FOR UPDATE",
        )
        .await;
    let report = archive(&database, dir.path());
    assert_eq!(
        (&report["orders_archived"], &report["orders_changed"]),
        (&2.into(), &1.into())
    );
    assert_eq!(archived(dir.path()).len(), 2);
    assert_eq!(report["files"][0]["orders"], 2);
    lock.batch_execute("COMMIT").await.unwrap();
    let report = archive(&database, dir.path());
    assert_eq!(report["orders_archived"], 1);
    assert_eq!(archived(dir.path()).len(), 3);
}

/// A limit of the length of files has the effect of a full disk.
#[tokio::test]
async fn a_file_that_cannot_be_written_removes_nothing() {
    let database = Database::postgres().await;
    migrate(&database);
    insert_old_orders(&database, 1_000).await;
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -f 16; exec {BINARY} maintain --archive-to {}",
        dir.path().display()
    );
    let out = Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .env("DATABASE_URL", database.url())
        .env("ORDER_RETENTION", "1h")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(
        stderr(&out).contains(dir.path().to_str().unwrap()),
        "{}",
        stderr(&out)
    );
    // The report has what was done before.
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["orders_archived"], 0);
    assert_eq!(database.count("orders").await, 1_000);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let out = maintain(
        &database,
        &SETTINGS,
        &["--archive-to", dir.path().to_str().unwrap()],
    );
    assert_eq!(crate::report(&out)["orders_archived"], 1_000);
}

#[tokio::test]
async fn an_order_that_changes_after_it_was_compared_stays() {
    let database = Database::postgres().await;
    migrate(&database);
    insert_old_orders(&database, 3).await;
    let dir = tempfile::tempdir().unwrap();
    // The removal waits for this lock, and the comparison before it does not.
    let lock = database
        .begin("LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE")
        .await;
    let args = ["--archive-to", dir.path().to_str().unwrap()];
    let process = spawn(&database, &SETTINGS, &args);
    let waiting = "pg_locks WHERE NOT granted AND relation = 'idempotency_keys'::regclass
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("the removal waits", Duration::from_secs(10), async || {
        database.count(waiting).await > 0
    })
    .await;
    let update = "UPDATE orders SET version = version + 1, metadata = '{}'
        WHERE id = (SELECT id FROM orders ORDER BY id LIMIT 1)";
    database.execute(update).await;
    lock.batch_execute("COMMIT").await.unwrap();
    let out = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    let report = report(&out.await.unwrap());
    assert_eq!(
        (&report["orders_archived"], &report["orders_changed"]),
        (&2.into(), &1.into())
    );
    assert_eq!(database.count("orders WHERE version = 3").await, 1);
    assert_eq!(archived(dir.path()).len(), 2);
}
