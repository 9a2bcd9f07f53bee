//! The pool keeps its limits, as PostgreSQL sees it.

use std::time::{Duration, Instant};

use order_service::store::{ListQuery, Store, StoreError};

use super::contract::{new_order, place, store};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::proxy::Proxy;

/// The connections of the pool; the probe and the listener have another last query.
const OPEN: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'order-service'
    AND query !~ '(LISTEN|NOTIFY) order_events'";

/// As many requests at once as the pool has connections, none of them coalesced.
async fn burst(store: &Store, database: &Database, connections: usize) {
    let holder = database.client().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE orders")
        .await
        .unwrap();
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let store = store.clone();
            let list = ListQuery {
                limit: 1,
                ..ListQuery::FIRST_PAGE
            };
            tokio::spawn(async move { store.list(list).await.unwrap() })
        })
        .collect();
    eventually("all are in use", Duration::from_secs(5), async || {
        store.pool_status().in_use == connections
    })
    .await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_grows_in_a_burst_and_shrinks_to_its_minimum_and_never_below() {
    let database = Database::postgres().await;
    let store = store(&database, &["--pool-idle-timeout", "500ms"]).await;
    let size = || store.pool_status().idle + store.pool_status().in_use;
    eventually("the minimum is open", Duration::from_secs(3), async || {
        size() == 5
    })
    .await;
    // Reads take three quarters of the 20.
    burst(&store, &database, 15).await;
    assert_eq!(size(), 15);
    eventually("the rest is closed", Duration::from_secs(5), async || {
        size() == 5
    })
    .await;
    eventually("also in the database", Duration::from_secs(3), async || {
        database.number(OPEN).await == 5
    })
    .await;
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(2) {
        assert_eq!(size(), 5);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_grows_older_than_the_lifetime() {
    let database = Database::postgres().await;
    let store = store(&database, &["--pool-max-lifetime", "1s"]).await;
    let oldest = "SELECT coalesce(extract(epoch FROM max(clock_timestamp() - backend_start)) * 1000, 0)::bigint
        FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'order-service' AND query !~ '(LISTEN|NOTIFY) order_events'";
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        // Busy ones as well as idle ones.
        place(&store, new_order("a")).await;
        let age = database.number(oldest).await;
        assert!(age < 1_500, "{age} ms");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.pool_status().idle >= 4, "{:?}", store.pool_status());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_connection_is_told_at_the_acquire_timeout() {
    let database = Database::postgres().await;
    let flags = [
        "--pool-max-size",
        "1",
        "--pool-acquire-timeout",
        "1s",
        "--statement-timeout",
        "30s",
    ];
    let store = store(&database, &flags).await;
    let holder = database.client().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE orders")
        .await
        .unwrap();
    let list = || {
        store.list(ListQuery {
            limit: 1,
            ..ListQuery::FIRST_PAGE
        })
    };
    let first = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .list(ListQuery {
                    limit: 1,
                    ..ListQuery::FIRST_PAGE
                })
                .await
        }
    });
    eventually("it is in use", Duration::from_secs(3), async || {
        store.pool_status().in_use == 1
    })
    .await;
    let start = Instant::now();
    let refused = list().await.unwrap_err();
    let waited = start.elapsed();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(
        waited >= Duration::from_millis(990) && waited < Duration::from_millis(1_500),
        "{waited:?}"
    );
    holder.batch_execute("ROLLBACK").await.unwrap();
    first.await.unwrap().unwrap();
    list().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_database_ended_are_replaced_without_an_error() {
    let database = Database::postgres().await;
    let store = store(&database, &[]).await;
    burst(&store, &database, 15).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'order-service'";
    for _ in 0..5 {
        database.execute(kill).await;
        for _ in 0..20 {
            let order = place(&store, new_order("a")).await;
            assert!(store.get(order.id).await.unwrap().is_some());
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 100);
    assert_eq!(database.number("SELECT count(*) FROM events").await, 100);
}

/// A store that reaches its database through a proxy, with its minimum open and one connection used.
async fn behind_proxy(flags: &[&str]) -> (Database, Proxy, Store) {
    let database = Database::postgres().await;
    crate::support::server::migrate(&database);
    let proxy = Proxy::before(&database).await;
    // Whoever reads while the pool is being filled opens one more, which is soon idle for too long.
    let flags = [flags, &["--pool-idle-timeout", "1s"]].concat();
    let (store, _) = super::contract::open_url(proxy.url(), &flags);
    let idle = async || store.pool_status().idle == 5;
    eventually("the minimum is open", Duration::from_secs(5), idle).await;
    place(&store, new_order("a")).await;
    (database, proxy, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_connect_takes_no_connection_from_requests() {
    let (database, proxy, store) = behind_proxy(&["--pool-max-size", "6"]).await;
    proxy.hold_new();
    // The one used last is the next to be used, so that it is noticed.
    let last = "SELECT pg_terminate_backend(pid) FROM (
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'order-service'
            AND query !~ '(LISTEN|NOTIFY) order_events' ORDER BY state_change DESC LIMIT 1
        ) used";
    database.execute(last).await;
    // The pool tries to open a new fifth; the four others serve on.
    let until = Instant::now() + Duration::from_secs(4);
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let start = Instant::now();
        place(&store, new_order("a")).await;
        slowest = slowest.max(start.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        slowest < Duration::from_secs(1),
        "a request waited {slowest:?}"
    );
    assert!(proxy.held() > 0, "no connection was opened meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_are_given_up() {
    let (_database, proxy, store) = behind_proxy(&["--statement-timeout", "500ms"]).await;
    proxy.silence_open();
    // Twice the statement time-out and a second, and no second try: 2 s.
    let refused = tokio::time::timeout(Duration::from_secs(4), store.create(new_order("b"))).await;
    let refused = refused.expect("it is told").unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    // All of them were silent, and none is met again.
    for _ in 0..20 {
        let placed = tokio::time::timeout(Duration::from_secs(4), place(&store, new_order("c")));
        placed.await.expect("on a new connection");
    }
}
