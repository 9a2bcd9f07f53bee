//! A database that is not available for a time, and rows that it does not keep.

use std::process::Stdio;
use std::time::Duration;

use super::{Imported, Input, assert_imported, line, small_orders};
use crate::support::binary::{command, migrate, run_on, stderr};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::small_disk::SmallDisk;

fn start(input: &Input, database: &Database, options: &[&str]) -> std::process::Child {
    let (path, url) = (input.path(), database.url());
    let args = [&["import", path.to_str().unwrap()], options].concat();
    command(&args, &[("DATABASE_URL", &url)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn an_import_continues_after_a_crash_of_the_database() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let input = Input::new(small_orders(20_000));
    let child = start(&input, &database, &[]);
    for _ in 0..3 {
        let before = database.count("orders").await;
        eventually("a chunk is imported", Duration::from_secs(20), async || {
            database.count("orders").await > before
        })
        .await;
        cluster.crash();
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.start_again();
    }
    let ended = Imported(child.wait_with_output().unwrap());
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let (imported, present, rejected) = ended.counts();
    assert_eq!((imported + present, rejected), (20_000, 0));
    assert!(ended.stderr().contains("retrying"), "{}", ended.stderr());
    assert_imported(&database, 20_000).await;
}

#[tokio::test]
async fn an_import_ends_when_the_database_is_away_for_too_long_and_is_continued_later() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let input = Input::new(small_orders(20_000));
    let child = start(&input, &database, &["--retry", "1s"]);
    eventually("a chunk is imported", Duration::from_secs(20), async || {
        database.count("orders").await > 0
    })
    .await;
    cluster.crash();
    let ended = Imported(child.wait_with_output().unwrap());
    assert_eq!(ended.code(), 3, "{}", ended.stderr());
    assert!(
        ended.stderr().contains("run the same command again"),
        "{}",
        ended.stderr()
    );
    let (imported, _, _) = ended.counts();
    assert!(imported < 20_000);
    cluster.start_again();
    let rest = input.import(&database);
    assert_eq!(rest.code(), 0, "{}", rest.stderr());
    assert_imported(&database, 20_000).await;
}

#[tokio::test]
async fn rows_that_postgres_does_not_keep_are_an_error() {
    for table in ["orders", "order_items", "events"] {
        let database = Database::postgres().await;
        migrate(&database);
        database
            .execute(&format!(
                "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                CREATE TRIGGER forget BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION forget()"
            ))
            .await;
        let imported = Input::of([line("a", 1)]).import_with(&database, &["--retry", "0s"]);
        assert_eq!(
            (imported.code(), imported.counts()),
            (1, (0, 0, 0)),
            "{table}"
        );
        assert!(
            imported.stderr().contains("did not store"),
            "{}",
            imported.stderr()
        );
        for table in ["orders", "order_items", "events"] {
            assert_eq!(database.count(table).await, 0);
        }
    }
}

/// Without a position, no reader of the feed would see the events.
#[tokio::test]
async fn a_feed_that_is_not_current_is_an_error() {
    for (sql, expected) in [
        ("DELETE FROM feed", "has no row"),
        (
            "UPDATE feed SET xid_offset = -1000000000000",
            "order-service migrate",
        ),
    ] {
        let database = Database::postgres().await;
        migrate(&database);
        database.execute(sql).await;
        let imported = Input::of([line("a", 1)]).import_with(&database, &["--retry", "0s"]);
        assert_eq!(
            (imported.code(), imported.counts()),
            (1, (0, 0, 0)),
            "{sql}"
        );
        assert!(
            imported.stderr().contains(expected),
            "{}",
            imported.stderr()
        );
        assert_eq!(database.count("orders").await, 0);
    }
}

#[tokio::test]
async fn a_lock_that_another_session_holds_delays_an_import_but_not_the_feed() {
    let database = Database::postgres().await;
    migrate(&database);
    let mut order = line("a", 1);
    order["external_id"] = "held".into();
    let input = Input::of([order, line("b", 2)]);
    let holder = database
        .begin(
            "INSERT INTO orders (tenant, id, status, external_id, metadata, version, created_at, updated_at, json_bytes)
            VALUES ('default', gen_random_uuid(), 'pending', 'held', '{}', 1, now(), now(), 2)",
        )
        .await;
    let child = start(&input, &database, &[]);
    // No transaction of the import waits for long: readers of the feed would wait for it.
    let oldest = "SELECT coalesce(max(extract(epoch FROM now() - xact_start)) * 1000, 0)::bigint
        FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL AND query ILIKE 'copy%'";
    let mut longest = 0;
    for _ in 0..150 {
        longest = longest.max(database.number(oldest).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(longest > 0 && longest < 250, "{longest} ms");
    holder.batch_execute("ROLLBACK").await.unwrap();
    let ended = Imported(child.wait_with_output().unwrap());
    assert_eq!(
        (ended.code(), ended.counts()),
        (0, (2, 0, 0)),
        "{}",
        ended.stderr()
    );
    assert_imported(&database, 2).await;
}

#[test]
fn an_import_ends_on_a_full_disk_and_is_continued_when_there_is_space() {
    let Some(disk) = SmallDisk::mount(8) else {
        return;
    };
    let url = format!("sqlite://{}", disk.path().join("orders.db").display());
    assert!(run_on(&url, &["migrate"]).status.success());
    disk.fill_except(2_048);
    let input = Input::new(small_orders(4_000));
    let path = input.path();
    let args = ["import", path.to_str().unwrap(), "--retry", "1s"];
    let full = Imported(run_on(&url, &args));
    assert_eq!(full.code(), 1, "{}", full.stderr());
    assert!(
        full.stderr().contains("run the same command again"),
        "{}",
        full.stderr()
    );
    let (imported, _, _) = full.counts();
    assert!(imported > 0 && imported < 4_000, "{imported}");
    disk.free();
    let rest = run_on(&url, &args);
    assert!(rest.status.success(), "{}", stderr(&rest));
    let rest = Imported(rest);
    assert_eq!(rest.counts(), (4_000 - imported, imported, 0));
}
