//! The command `audit`.

mod corruption;
mod service;
mod stored;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::binary::{migrate, run, run_on, stderr};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::eventually;
use stored::{Stored, report_of};

crate::on_both!(
    a_database_that_was_used_in_every_way_has_no_violation,
    a_database_without_orders_has_no_violation,
    the_audit_of_one_tenant_checks_its_rows_only,
    a_schema_that_is_behind_is_reported,
    an_order_with_many_events_is_checked_as_a_whole,
    many_orders_are_checked_in_ranges,
);

/// Runs an audit that finds nothing, and returns its report.
fn consistent(database: &Database) -> Value {
    let out = run_on(&database.url(), &["audit"]);
    let report = report_of(&out);
    assert_eq!(out.status.code(), Some(0), "{report:#} {}", stderr(&out));
    assert_eq!(
        (
            &report["consistent"],
            &report["violations"],
            &report["kinds"]
        ),
        (&json!(true), &json!(0), &json!({})),
        "{report:#}"
    );
    report
}

async fn a_database_without_orders_has_no_violation(database: Database) {
    migrate(&database);
    let report = consistent(&database);
    assert_eq!(report["checked"]["orders"], 0);
    assert_eq!(report["tenant"], json!(null));
    let name = if database.is_postgres() {
        "postgres"
    } else {
        "sqlite"
    };
    assert_eq!(report["database"], name);
}

async fn a_database_that_was_used_in_every_way_has_no_violation(database: Database) {
    let stored = Stored::new(&database).await;
    stored.import_erase_archive_and_prune().await;
    let report = consistent(&database);
    for (counter, table) in [
        ("orders", "orders"),
        ("order_items", "order_items"),
        ("events", "events"),
        ("idempotency_keys", "idempotency_keys"),
        ("archived_orders", "archived_orders"),
    ] {
        let rows = database.count(table).await;
        assert!(rows > 0, "{table}");
        assert_eq!(report["checked"][counter], rows, "{table}");
    }
    assert!(report["checked"]["keys"].as_u64().unwrap() >= 7);
}

async fn the_audit_of_one_tenant_checks_its_rows_only(database: Database) {
    let _stored = Stored::new(&database).await;
    database
        .execute(
            "UPDATE orders SET total_amount = 1 WHERE tenant = 'acme' AND currency IS NOT NULL",
        )
        .await;
    let audit = |tenant: &str| run_on(&database.url(), &["audit", "--tenant", tenant]);
    for (tenant, code) in [("acme", 1), ("default", 0), ("nobody", 0)] {
        let out = audit(tenant);
        let report = report_of(&out);
        assert_eq!(out.status.code(), Some(code), "{report:#}");
        assert_eq!(report["tenant"], tenant);
        let count = format!("SELECT count(*) FROM orders WHERE tenant = '{tenant}'");
        assert_eq!(report["checked"]["orders"], database.number(&count).await);
    }
}

async fn a_schema_that_is_behind_is_reported(database: Database) {
    database.create_empty();
    let out = run_on(&database.url(), &["audit"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("create_orders"), "{out:?}");
    assert!(out.stdout.is_empty());
}

async fn an_order_with_many_events_is_checked_as_a_whole(database: Database) {
    let stored = Stored::new(&database).await;
    // More than the events of one range.
    stored.add_versions(&stored.plain, 50_000).await;
    let report = consistent(&database);
    assert_eq!(report["checked"]["events"], database.count("events").await);
    let of_order = stored.of(&stored.plain);
    database
        .execute(&format!(
            "DELETE FROM events WHERE {of_order} AND version = 25000"
        ))
        .await;
    let out = run_on(&database.url(), &["audit"]);
    let report = report_of(&out);
    assert_eq!(report["violations"], 1, "{report:#}");
    assert_eq!(
        report["kinds"]["event-gap"]["examples"][0]["version"],
        25_001
    );
}

async fn many_orders_are_checked_in_ranges(database: Database) {
    let stored = Stored::new(&database).await;
    // More than the orders of eight ranges: PostgreSQL plans a statement for its values five times.
    stored.copy_orders(8_500).await;
    let before = rows_read_by_position(&database).await;
    let report = consistent(&database);
    let events = database.count("events").await;
    assert_eq!(report["checked"]["orders"], database.count("orders").await);
    assert_eq!(
        report["checked"]["order_items"],
        database.count("order_items").await
    );
    assert_eq!(report["checked"]["events"], events);
    if database.is_postgres() {
        // The server counts when the session has ended.
        eventually("it counts", Duration::from_secs(10), async || {
            database.number(&rows_read("%pkey")).await >= events
        })
        .await;
        // A range that does not end its walk reads the events of all later orders of the tenant.
        let read = database.number(&rows_read("%pkey")).await;
        assert!(read < 2 * events, "{read} entries for {events} events");
        assert_eq!(rows_read_by_position(&database).await, before);
    }
}

/// SQL for the number of entries that were read of indexes of events with such a name.
fn rows_read(name: &str) -> String {
    format!(
        "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes
        WHERE relname ~ '^events_' AND indexrelname LIKE '{name}'"
    )
}

/// The entries of the indexes by position that were read. A walk along the keys needs none.
async fn rows_read_by_position(database: &Database) -> i64 {
    if database.is_postgres() {
        database.number(&rows_read("%tenant_position_seq%")).await
    } else {
        0
    }
}

#[test]
fn an_audit_of_a_server_that_does_not_respond_exits_with_3() {
    let cluster = Cluster::start();
    cluster.crash();
    let out = run_on(&cluster.url, &["audit"]);
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    assert!(out.stdout.is_empty());
}

#[test]
fn an_audit_with_an_illegal_tenant_exits_with_2() {
    let out = run(&["audit", "--tenant", "Not A Tenant"], &[]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    let out = run_on("mysql://h/d", &["audit"]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
}

#[tokio::test]
async fn a_lock_that_readers_wait_for_is_named() {
    let database = Database::postgres().await;
    migrate(&database);
    for table in ["orders", "events", "feed"] {
        let lock = database
            .begin(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            .await;
        let pid: i32 = lock
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap()
            .get(0);
        let variables = [
            ("DATABASE_URL", &*database.url()),
            ("STATEMENT_TIMEOUT", "400ms"),
        ];
        let out = run(&["audit"], &variables);
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        let expected =
            format!("(server process {pid}) holds an exclusive lock on the table {table}");
        assert!(stderr(&out).contains(&expected), "{}", stderr(&out));
        assert!(out.stdout.is_empty());
    }
    // A lock that ends in time delays the audit.
    let lock = database
        .begin("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .await;
    let release = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        lock.batch_execute("COMMIT").await.unwrap();
    };
    let url = database.url();
    let audit = tokio::task::spawn_blocking(move || run_on(&url, &["audit"]));
    let (out, ()) = tokio::join!(audit, release);
    let report = report_of(&out.unwrap());
    assert_eq!(report["consistent"], true);
    let keys = consistent(&database)["checked"]["keys"].clone();
    assert_eq!(report["checked"]["keys"], keys, "nothing is counted twice");
}
