//! Orders are never lost, whatever happens while they are archived.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::archive::{archived, files, insert_old_orders};
use crate::support::binary::{BINARY, migrate, stderr};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::order_id;
use crate::support::server::Server;
use crate::{archive, maintain, report, spawn};

crate::on_both!(
    each_order_is_in_the_database_or_in_one_file_after_any_kill,
    a_pending_file_is_finished_before_more_is_archived,
    a_pending_file_that_was_damaged_is_not_finished,
    a_directory_with_the_name_of_a_file_is_ignored,
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

/// The ids of the orders in pending files of the archive.
fn pending(directory: &Path) -> BTreeSet<String> {
    let names = files(directory, ".pending").into_iter();
    let lines = names.flat_map(|name| {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let id = |line: String| -> String {
        let order: serde_json::Value = serde_json::from_str(&line).unwrap();
        order_id(&order).to_owned()
    };
    lines.map(id).collect()
}

/// Asserts that each order is in the database or in exactly one finished file, or in a pending file if it may be in
/// neither. Returns the orders in the database.
async fn expect_each_order_once(
    database: &Database,
    directory: &Path,
    all: &BTreeSet<String>,
) -> BTreeSet<String> {
    let left = stored(database).await;
    let finished: BTreeSet<_> = archived(directory).into_keys().collect();
    let live: Vec<_> = left.intersection(&finished).collect();
    assert!(
        live.is_empty(),
        "finished files have orders that were not removed: {live:?}"
    );
    let known: BTreeSet<_> = left.union(&finished).cloned().collect();
    let known: BTreeSet<_> = known.union(&pending(directory)).cloned().collect();
    assert_eq!(&known, all);
    left
}

async fn each_order_is_in_the_database_or_in_one_file_after_any_kill(database: Database) {
    migrate(&database);
    let count = 2_000;
    insert_old_orders(&database, count).await;
    let all = stored(&database).await;
    let dir = tempfile::tempdir().unwrap();
    let args = ["--archive-to", dir.path().to_str().unwrap()];
    let (mut rounds, mut partly_removed, mut pending_files) = (0, 0, 0);
    while !stored(&database).await.is_empty() && rounds < 20 {
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
        let left = expect_each_order_once(&database, dir.path(), &all).await;
        partly_removed += u32::from(!left.is_empty() && left.len() < all.len());
        pending_files += files(dir.path(), ".pending").len();
        // An order of the pending file changes before the next run.
        if let Some(id) = left.intersection(&pending(dir.path())).next() {
            let id = if database.is_postgres() {
                format!("'{id}'")
            } else {
                format!("x'{}'", id.replace('-', ""))
            };
            let update = format!("UPDATE orders SET version = version + 1 WHERE id = {id}");
            database.execute(&update).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    archive(&database, dir.path());
    assert_eq!(stored(&database).await, BTreeSet::new());
    assert_eq!(
        archived(dir.path()).into_keys().collect::<BTreeSet<_>>(),
        all
    );
    for end in [".partial", ".pending"] {
        assert_eq!(files(dir.path(), end), Vec::<String>::new());
    }
    let data = files(dir.path(), ".ndjson").len();
    assert_eq!(files(dir.path(), ".sha256").len(), data);
    // Each was removed once.
    assert_eq!(
        database.count("events WHERE event_type = 'archived'").await,
        count
    );
    assert_eq!(database.count("archived_orders").await, count);
    eprintln!(
        "{rounds} kills, {partly_removed} of them between removals, {pending_files} pending files"
    );
    assert!(partly_removed > 0 && pending_files > 0);
}

/// A run whose next removal waits for a lock is killed, so some of the orders of its file are removed.
async fn kill_between_removals(database: &Database, directory: &Path) {
    let args = ["--archive-to", directory.to_str().unwrap()];
    let before = database.count("orders").await;
    let mut process = spawn(database, &SETTINGS, &args);
    eventually("orders are removed", Duration::from_secs(30), async || {
        database.count("orders").await < before
    })
    .await;
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(database.count("orders").await > 0);
    assert_eq!(files(directory, ".ndjson"), Vec::<String>::new());
    assert_eq!(files(directory, ".pending").len(), 1);
}

async fn a_pending_file_is_finished_before_more_is_archived(database: Database) {
    migrate(&database);
    insert_old_orders(&database, 3_000).await;
    let all = stored(&database).await;
    let dir = tempfile::tempdir().unwrap();
    kill_between_removals(&database, dir.path()).await;
    let left = stored(&database).await;
    // Without orders that are old enough, the file keeps what was removed.
    let args = ["--archive-to", dir.path().to_str().unwrap()];
    let first = report(&maintain(&database, &[("ORDER_RETENTION", "100y")], &args));
    assert_eq!(first["orders_archived"], 0, "{first}");
    assert_eq!(
        expect_each_order_once(&database, dir.path(), &all).await,
        left
    );
    assert_eq!(first["files"][0]["orders"], all.len() - left.len());
    assert_eq!(files(dir.path(), ".pending"), Vec::<String>::new());
    let second = archive(&database, dir.path());
    assert_eq!(second["orders_archived"], left.len());
    assert_eq!(archived(dir.path()).len(), all.len());
}

async fn a_pending_file_that_was_damaged_is_not_finished(database: Database) {
    migrate(&database);
    insert_old_orders(&database, 3_000).await;
    let dir = tempfile::tempdir().unwrap();
    kill_between_removals(&database, dir.path()).await;
    let left = database.count("orders").await;
    let path = dir.path().join(&files(dir.path(), ".pending")[0]);
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replacen("cancelled", "confirmed", 1)).unwrap();
    let args = ["--archive-to", dir.path().to_str().unwrap()];
    let out = maintain(&database, &SETTINGS, &args);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        stderr(&out).contains("not what was written"),
        "{}",
        stderr(&out)
    );
    assert_eq!(database.count("orders").await, left);
    std::fs::write(&path, whole).unwrap();
    archive(&database, dir.path());
    assert_eq!(archived(dir.path()).len(), 3_000);
}

async fn a_directory_with_the_name_of_a_file_is_ignored(database: Database) {
    migrate(&database);
    insert_old_orders(&database, 3).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("orders-x.ndjson.partial")).unwrap();
    assert_eq!(archive(&database, dir.path())["orders_archived"], 3);
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
