//! A database that is restored from a dump, from a copy of its file, or from a copy of its cluster.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::{expect_continues, expect_expired, link_at_end, raise_floor, remove_below_floor};
use crate::events::read_events;
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::eventually;
use crate::support::orders::order_path;
use crate::support::server::Server;

/// Restores a dump of the database into a cluster.
async fn restore_dump(database: &Database, cluster: &Cluster) -> Database {
    let dump = Command::new("pg_dump")
        .arg(database.url())
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    let restored = cluster.database().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, dump.stdout).unwrap();
    let load = [
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        file.path().to_str().unwrap(),
    ];
    let loaded = Command::new("psql").arg(restored.url()).args(load).output();
    let loaded = loaded.unwrap();
    assert!(loaded.status.success(), "{loaded:?}");
    migrate(&restored);
    restored
}

/// A database in a cluster that has assigned 2000 transaction ids more than a new one, so that its positions are ahead
/// of those in a new cluster.
async fn database_with_high_positions(cluster: &Cluster) -> Database {
    let client = connect(&cluster.url).await;
    for _ in 0..2_000 {
        client
            .batch_execute("SELECT pg_current_xact_id()")
            .await
            .unwrap();
    }
    cluster.database().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_succeeds_after_a_restore_under_the_service_until_it_is_migrated() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let post = async || {
        let sent = server
            .client
            .post(server.url("/api/v1/orders"))
            .json(&json!({"product_id": "sku-1", "quantity": 1}))
            .send();
        sent.await.unwrap().status()
    };
    // The connections of the pool have written.
    assert_eq!(post().await, 201);
    // A restored dump writes the row of the feed anew, and its events are ahead of the positions of this server.
    database
        .execute("UPDATE feed SET xid_offset = xid_offset - 1000000")
        .await;
    for _ in 0..20 {
        assert_eq!(post().await, 503);
    }
    assert_eq!(database.count("orders").await, 1);
    migrate(&database);
    assert_eq!(post().await, 201);
    // Events are read when no older transaction of the cluster runs, and tests in other databases have some.
    eventually(
        "both events are read",
        Duration::from_secs(30),
        async || read_events(&server, "/api/v1/events").await.len() == 2,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_continues_in_a_database_restored_from_a_dump() {
    let (old_cluster, new_cluster) = (Cluster::start(), Cluster::start());
    let database = database_with_high_positions(&old_cluster).await;
    let server = Server::start(&database, &[]).await;
    server.create("dumped").await;
    let surviving = link_at_end(&server, 1).await;
    let restored = restore_dump(&database, &new_cluster).await;
    server.create("after the dump").await;
    let lost = link_at_end(&server, 2).await;
    drop(server);
    let server = Server::start(&restored, &[]).await;
    expect_expired(&server, &lost).await;
    expect_continues(&server, &surviving).await;
    expect_expired(&server, &lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_continues_in_a_database_restored_without_any_events() {
    let (old_cluster, new_cluster) = (Cluster::start(), Cluster::start());
    let database = database_with_high_positions(&old_cluster).await;
    let server = Server::start(&database, &[]).await;
    server.create("removed").await;
    let end = link_at_end(&server, 1).await;
    raise_floor(&database, 1).await;
    remove_below_floor(&database).await;
    drop(server);
    let restored = restore_dump(&database, &new_cluster).await;
    let server = Server::start(&restored, &[]).await;
    // New events get positions behind those that were removed.
    expect_continues(&server, &end).await;
}

/// A copy of an SQLite database.
struct FileCopy {
    file: String,
    copy: String,
}

impl FileCopy {
    async fn of(database: &Database) -> Self {
        let file = database.file();
        let copy = format!("{file}.bak");
        database.execute(&format!(".backup '{copy}'")).await;
        Self { file, copy }
    }

    /// Replaces the database with the copy. No server may run on it.
    fn restore(&self) {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.file));
        }
        std::fs::copy(&self.copy, &self.file).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_file_continues_cursors_from_before_the_copy_and_expires_later_ones() {
    let database = Database::sqlite();
    let server = Server::start(&database, &[]).await;
    server.create("copied").await;
    let surviving = link_at_end(&server, 1).await;
    let copy = FileCopy::of(&database).await;
    server.create("after the copy").await;
    let lost = link_at_end(&server, 2).await;
    drop(server);
    copy.restore();
    let server = Server::start(&database, &[]).await;
    expect_expired(&server, &lost).await;
    // A new event gets the sequence number of the lost one.
    expect_continues(&server, &surviving).await;
    expect_expired(&server, &lost).await;
}

/// Updates the status of an order that has version 1.
async fn update_status(server: &Server, path: &str, status: &str) {
    let updated = server.patch(path, &json!({ "status": status })).await;
    let updated: serde_json::Value = updated.json();
    assert_eq!(
        (&updated["status"], &updated["version"]),
        (&json!(status), &json!(2))
    );
}

/// The position and the sequence number of the last event.
async fn last_position(database: &Database) -> (i64, i64) {
    let position = if database.is_postgres() {
        "max(position)"
    } else {
        "max(0)"
    };
    let select = |column| format!("SELECT {column} FROM events");
    (
        database.number(&select(position)).await,
        database.number(&select("max(seq)")).await,
    )
}

/// Confirms the order, restores the database, and cancels the order instead: both events have the same position,
/// order and version.
async fn expect_expired_after_another_update(
    database: &Database,
    path: &str,
    restore: impl FnOnce(),
) {
    let server = Server::start(database, &[]).await;
    update_status(&server, path, "confirmed").await;
    let lost = link_at_end(&server, 2).await;
    let position = last_position(database).await;
    drop(server);
    restore();
    let server = Server::start(database, &[]).await;
    update_status(&server, path, "cancelled").await;
    assert_eq!(last_position(database).await, position);
    let oldest = expect_expired(&server, &lost).await;
    let events = read_events(&server, &oldest).await;
    assert_eq!(events[1]["data"]["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_expires_when_a_restored_file_updates_the_same_order_differently() {
    let database = Database::sqlite();
    let server = Server::start(&database, &[]).await;
    let order = server.create("copied").await;
    let copy = FileCopy::of(&database).await;
    drop(server);
    expect_expired_after_another_update(&database, &order_path(&order), || copy.restore()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_expires_when_a_restored_cluster_updates_the_same_order_differently() {
    // Autovacuum would take transaction ids, so that positions would differ.
    let cluster = Cluster::start_with(&[("POSTGRES_CONF", "autovacuum = off")]);
    let database = cluster.database().await;
    let server = Server::start(&database, &[]).await;
    let order = server.create("copied").await;
    drop(server);
    cluster.shut_down();
    let copy = cluster.data().with_file_name("copy");
    copy_directory(&cluster.data(), &copy);
    cluster.start_again();
    expect_expired_after_another_update(&database, &order_path(&order), || {
        cluster.shut_down();
        std::fs::remove_dir_all(cluster.data()).unwrap();
        std::fs::rename(&copy, cluster.data()).unwrap();
        cluster.start_again();
    })
    .await;
}

fn copy_directory(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}
