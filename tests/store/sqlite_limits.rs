//! Statements on SQLite end in time.

use std::time::{Duration, Instant};

use order_service::store::StoreError;

use super::contract::{new_order, place, store};
use crate::support::database::Database;

const LIMITS: [&str; 4] = ["--statement-timeout", "1s", "--pool-min-idle", "1"];

/// Rows whose cross product nobody waits for.
const MANY: &str = "CREATE TABLE n (x INTEGER);
    INSERT INTO n WITH RECURSIVE s (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s LIMIT 5000)
    SELECT x FROM s;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_takes_too_long_is_ended() {
    let database = Database::sqlite();
    let store = store(&database, &LIMITS).await;
    let slow = "CREATE TRIGGER slow AFTER INSERT ON orders
        BEGIN SELECT count(*) FROM n AS a, n AS b, n AS c WHERE a.x + b.x + c.x < 0; END;";
    database.execute(&format!("{MANY}{slow}")).await;
    let start = Instant::now();
    let late = tokio::time::timeout(Duration::from_secs(5), store.create(new_order("a"))).await;
    assert_eq!(late.expect("it ends"), Err(StoreError::StatementTimeout));
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(3),
        "{took:?}"
    );
    // Nothing of it is left, neither rows nor a lock.
    database.execute("DROP TRIGGER slow").await;
    place(&store, new_order("b")).await;
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_takes_too_long_is_ended() {
    let database = Database::sqlite();
    let store = store(&database, &LIMITS).await;
    let order = place(&store, new_order("a")).await;
    let slow = "ALTER TABLE orders RENAME TO real;
        CREATE VIEW orders AS SELECT real.* FROM real, n AS a, n AS b, n AS c
        WHERE a.x + b.x + c.x < 0;";
    database.execute(&format!("{MANY}{slow}")).await;
    let late = tokio::time::timeout(Duration::from_secs(5), store.get(order.id)).await;
    assert_eq!(late.expect("it ends"), Err(StoreError::StatementTimeout));
    database
        .execute("DROP VIEW orders; ALTER TABLE real RENAME TO orders")
        .await;
    assert!(store.get(order.id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_another_process_is_a_timeout() {
    let database = Database::sqlite();
    let store = store(&database, &LIMITS).await;
    let file = database.url().strip_prefix("sqlite://").unwrap().to_owned();
    // SQLite's shell holds the right to write until its standard input ends.
    let mut holder = std::process::Command::new("sqlite3")
        .arg(file)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"BEGIN IMMEDIATE; SELECT 1;\n").unwrap();
    let mut answer = [0; 1];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut answer).unwrap();
    let late = store.create(new_order("a")).await;
    assert_eq!(late, Err(StoreError::StatementTimeout));
    drop(input);
    holder.wait().unwrap();
    place(&store, new_order("b")).await;
}
