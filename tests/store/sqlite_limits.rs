//! Statements on SQLite end at the statement timeout.

use std::time::{Duration, Instant};

use order_service::store::StoreError;

use super::contract::{caller, create, new_order, store};
use crate::support::database::Database;

const OPTIONS: [&str; 4] = ["--statement-timeout", "1s", "--pool-min-idle", "1"];

/// Rows whose cross product takes too long to compute.
const MANY: &str = "CREATE TABLE n (x INTEGER);
    INSERT INTO n WITH RECURSIVE s (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s LIMIT 5000)
    SELECT x FROM s;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_takes_too_long_is_interrupted() {
    let database = Database::sqlite();
    let store = store(&database, &OPTIONS).await;
    let slow = "CREATE TRIGGER slow AFTER INSERT ON orders
        BEGIN SELECT count(*) FROM n AS a, n AS b, n AS c WHERE a.x + b.x + c.x < 0; END;";
    database.execute(&format!("{MANY}{slow}")).await;
    let start = Instant::now();
    let late = tokio::time::timeout(Duration::from_secs(5), store.create(new_order("a"))).await;
    assert_eq!(
        late.expect("it ends in time"),
        Err(StoreError::StatementTimeout)
    );
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(3),
        "{took:?}"
    );
    // It leaves neither rows nor a lock.
    database.execute("DROP TRIGGER slow").await;
    create(&store, new_order("b")).await;
    assert_eq!(database.count("orders").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_takes_too_long_is_interrupted() {
    let database = Database::sqlite();
    let store = store(&database, &OPTIONS).await;
    let order = create(&store, new_order("a")).await;
    let slow = "ALTER TABLE orders RENAME TO real;
        CREATE VIEW orders AS SELECT real.* FROM real, n AS a, n AS b, n AS c
        WHERE a.x + b.x + c.x < 0;";
    database.execute(&format!("{MANY}{slow}")).await;
    let late = tokio::time::timeout(Duration::from_secs(5), store.get(&caller(), order.id)).await;
    assert_eq!(
        late.expect("it ends in time"),
        Err(StoreError::StatementTimeout)
    );
    database
        .execute("DROP VIEW orders; ALTER TABLE real RENAME TO orders")
        .await;
    assert!(store.get(&caller(), order.id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_lock_of_another_process_times_out() {
    let database = Database::sqlite();
    let store = store(&database, &OPTIONS).await;
    let file = database.file();
    // The shell of SQLite holds the write lock until its standard input ends.
    let mut holder = std::process::Command::new("sqlite3")
        .arg(file)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"BEGIN IMMEDIATE; SELECT 1;\n").unwrap();
    let mut response = [0; 1];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut response).unwrap();
    let late = store.create(new_order("a")).await;
    assert_eq!(late, Err(StoreError::StatementTimeout));
    drop(input);
    holder.wait().unwrap();
    create(&store, new_order("b")).await;
}
