//! Arguments, exit codes, the lock, and signals.

use std::time::Duration;

use crate::support::binary::{kill, migrate, run, stderr};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::{maintain, maintained, report, spawn};

crate::on_both!(
    a_second_run_reports_the_first_and_does_nothing,
    concurrent_runs_remove_each_key_once,
    a_signal_ends_a_run_between_two_transactions_and_the_next_run_continues,
    a_database_with_pending_migrations_is_not_maintained,
);

#[test]
fn settings_that_contradict_each_other_exit_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let existing = dir.path().to_str().unwrap();
    let file = "sqlite:///nowhere/orders.db";
    for (url, retention, args, expected) in [
        (file, "90d", &[][..], "--archive-to"),
        (file, "", &["--archive-to", existing], "ORDER_RETENTION"),
        (
            file,
            "90d",
            &["--archive-to", "/no/such/directory"],
            "existing directory",
        ),
        ("sqlite::memory:", "", &[], "DATABASE_URL"),
    ] {
        let args: Vec<&str> = [&["maintain"], args].concat();
        let out = run(
            &args,
            &[("DATABASE_URL", url), ("ORDER_RETENTION", retention)],
        );
        assert_eq!(out.status.code(), Some(2), "{args:?} {retention}: {out:?}");
        assert!(stderr(&out).contains(expected), "{}", stderr(&out));
    }
}

#[test]
fn a_server_that_cannot_be_reached_exits_with_3() {
    let cluster = Cluster::start();
    cluster.crash();
    let out = run(&["maintain"], &[("DATABASE_URL", &cluster.url)]);
    assert_eq!(out.status.code(), Some(3), "{out:?}");
}

async fn a_database_with_pending_migrations_is_not_maintained(database: Database) {
    database.create_empty();
    let out = maintain(&database, &[], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("create_orders"), "{}", stderr(&out));
}

/// Keys of orders of the year 2001, for several tenants.
async fn insert_old_keys(database: &Database, count: i64) {
    let sql = if database.is_postgres() {
        format!(
            "INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
            SELECT 'tenant-' || i % 3, sha256(i::text::bytea),
                ('00e4' || lpad(to_hex(i), 8, '0') || '7000800000000000' || '0000')::uuid,
                sha256('x'), 1, '{{}}', '2001-01-01' FROM generate_series(1, {count}) AS i"
        )
    } else {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
            INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
            SELECT 'tenant-' || i % 3, randomblob(32), CAST(char(1) || printf('%015d', i) AS BLOB),
                zeroblob(32), 1, '{{}}', 978307200000000 FROM n"
        )
    };
    database.execute(&sql).await;
}

const SETTINGS: [(&str, &str); 1] = [("IDEMPOTENCY_RETENTION", "30d")];

async fn a_second_run_reports_the_first_and_does_nothing(database: Database) {
    migrate(&database);
    insert_old_keys(&database, 10).await;
    let (client, file) = if database.is_postgres() {
        let client = database.client().await;
        let lock = "SELECT pg_advisory_lock(x'006f726465727332'::bigint)";
        client.batch_execute(lock).await.unwrap();
        (Some(client), None)
    } else {
        let file = std::fs::File::create(format!("{}.maintain", database.file())).unwrap();
        file.lock().unwrap();
        (None, Some(file))
    };
    let out = maintain(&database, &SETTINGS, &[]);
    assert_eq!(report(&out)["already_running"], true);
    assert!(stderr(&out).contains("another process"), "{}", stderr(&out));
    assert_eq!(database.count("idempotency_keys").await, 10);
    drop((client, file));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let report = maintained(&database, &SETTINGS);
    assert_eq!(report["already_running"], false);
    assert_eq!(report["idempotency_keys_removed"], 10);
}

async fn concurrent_runs_remove_each_key_once(database: Database) {
    migrate(&database);
    insert_old_keys(&database, 3_000).await;
    let running: Vec<_> = (0..6).map(|_| spawn(&database, &SETTINGS, &[])).collect();
    let (mut removed, mut turned_away) = (0, 0);
    for process in running {
        let report = report(&process.wait_with_output().unwrap());
        removed += report["idempotency_keys_removed"].as_i64().unwrap();
        turned_away += i64::from(report["already_running"] == true);
    }
    assert_eq!(removed, 3_000);
    assert!(turned_away > 0);
    assert_eq!(database.count("idempotency_keys").await, 0);
}

async fn a_signal_ends_a_run_between_two_transactions_and_the_next_run_continues(
    database: Database,
) {
    migrate(&database);
    let all = 60_000;
    insert_old_keys(&database, all).await;
    let process = spawn(&database, &SETTINGS, &[]);
    while database.count("idempotency_keys").await == all {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill(i32::try_from(process.id()).unwrap(), libc::SIGTERM);
    let first = report(&process.wait_with_output().unwrap());
    assert_eq!(first["interrupted"], true);
    let left = database.count("idempotency_keys").await;
    assert!(left > 0, "the run was not interrupted");
    assert_eq!(first["idempotency_keys_removed"], all - left);
    let second = maintained(&database, &SETTINGS);
    assert_eq!(second["interrupted"], false);
    assert_eq!(second["idempotency_keys_removed"], left);
}
