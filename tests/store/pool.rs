//! The limits of the pool, as PostgreSQL observes them.

use std::time::{Duration, Instant};

use order_service::store::{ListQuery, Store, StoreError};

use super::contract::{caller, create, new_order, store};
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::proxy::Proxy;

/// Counts the connections of the pool. Those for readiness and for the listener have another last query.
const POOL_CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'order-service'
    AND query !~ '(LISTEN|NOTIFY) order_events'";

const ONE_ORDER: ListQuery = ListQuery {
    limit: 1,
    ..ListQuery::FIRST_PAGE
};

/// Uses this number of connections at the same time: lists of orders are not batched.
async fn use_connections(store: &Store, database: &Database, connections: usize) {
    let lock = database.begin("LOCK TABLE orders").await;
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.list(&caller(), ONE_ORDER).await.unwrap() })
        })
        .collect();
    eventually("all are in use", Duration::from_secs(5), async || {
        store.pool_status().in_use == connections
    })
    .await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_grows_under_load_and_shrinks_to_its_minimum() {
    let database = Database::postgres().await;
    let store = store(&database, &["--pool-idle-timeout", "500ms"]).await;
    let size = || store.pool_status().idle + store.pool_status().in_use;
    eventually("the minimum is open", Duration::from_secs(3), async || {
        size() == 5
    })
    .await;
    // Reads may use three quarters of the 20 connections.
    use_connections(&store, &database, 15).await;
    assert_eq!(size(), 15);
    eventually(
        "the pool is at its minimum",
        Duration::from_secs(5),
        async || size() == 5,
    )
    .await;
    eventually(
        "the database has as many connections",
        Duration::from_secs(3),
        async || database.number(POOL_CONNECTIONS).await == 5,
    )
    .await;
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(2) {
        assert_eq!(size(), 5);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_older_than_the_lifetime() {
    let database = Database::postgres().await;
    let store = store(&database, &["--pool-max-lifetime", "1s"]).await;
    let max_age = POOL_CONNECTIONS.replace(
        "count(*)",
        "coalesce(extract(epoch FROM max(clock_timestamp() - backend_start)) * 1000, 0)::bigint",
    );
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        // Connections in use as well as idle ones.
        create(&store, new_order("a")).await;
        let age = database.number(&max_age).await;
        assert!(age < 1_500, "{age} ms");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.pool_status().idle >= 4, "{:?}", store.pool_status());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_for_a_connection_fails_at_the_acquire_timeout() {
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
    let lock = database.begin("LOCK TABLE orders").await;
    let caller = caller();
    let list = || store.list(&caller, ONE_ORDER);
    let first = tokio::spawn({
        let (store, caller) = (store.clone(), caller.clone());
        async move { store.list(&caller, ONE_ORDER).await }
    });
    eventually(
        "the connection is in use",
        Duration::from_secs(3),
        async || store.pool_status().in_use == 1,
    )
    .await;
    let start = Instant::now();
    let rejected = list().await.unwrap_err();
    let waited = start.elapsed();
    assert!(matches!(rejected, StoreError::Unavailable(_)), "{rejected}");
    assert!(
        waited >= Duration::from_millis(990) && waited < Duration::from_millis(1_500),
        "{waited:?}"
    );
    lock.batch_execute("ROLLBACK").await.unwrap();
    first.await.unwrap().unwrap();
    list().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_database_closed_are_replaced_without_an_error() {
    let database = Database::postgres().await;
    let store = store(&database, &[]).await;
    use_connections(&store, &database, 15).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'order-service'";
    for _ in 0..5 {
        database.execute(kill).await;
        for _ in 0..20 {
            let order = create(&store, new_order("a")).await;
            assert!(store.get(&caller(), order.id).await.unwrap().is_some());
        }
    }
    assert_eq!(database.count("orders").await, 100);
    assert_eq!(database.count("events").await, 100);
}

/// A store behind a proxy. The minimum of connections is open, and one has been used.
async fn behind_proxy(flags: &[&str]) -> (Database, Proxy, Store) {
    let database = Database::postgres().await;
    migrate(&database);
    let proxy = Proxy::in_front_of(&database).await;
    // A read while the pool fills may open one more, which the idle timeout closes.
    let flags = [flags, &["--pool-idle-timeout", "1s"]].concat();
    let (store, _) = super::contract::open_url(proxy.url(), &flags);
    let idle = async || store.pool_status().idle == 5;
    eventually("the minimum is open", Duration::from_secs(5), idle).await;
    create(&store, new_order("a")).await;
    (database, proxy, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_connect_does_not_delay_requests_on_open_connections() {
    let (database, proxy, store) = behind_proxy(&["--pool-max-size", "6"]).await;
    proxy.hold_new();
    // The connection used last is the next to be used, so the pool detects that it is closed.
    let last = "SELECT pg_terminate_backend(pid) FROM (
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'order-service'
            AND query !~ '(LISTEN|NOTIFY) order_events' ORDER BY state_change DESC LIMIT 1
        ) used";
    database.execute(last).await;
    // The pool tries to open a fifth connection; the other four serve requests.
    let until = Instant::now() + Duration::from_secs(4);
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let start = Instant::now();
        create(&store, new_order("a")).await;
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
async fn connections_whose_server_sends_nothing_are_closed() {
    let (_database, proxy, store) = behind_proxy(&["--statement-timeout", "500ms"]).await;
    proxy.silence_open();
    // Twice the statement timeout plus a second, without a retry: 2 s.
    let rejected = tokio::time::timeout(Duration::from_secs(4), store.create(new_order("b"))).await;
    let rejected = rejected.expect("it fails in time").unwrap_err();
    assert!(matches!(rejected, StoreError::Unavailable(_)), "{rejected}");
    // All open connections were silent. None of them is used again.
    for _ in 0..20 {
        let created = tokio::time::timeout(Duration::from_secs(4), create(&store, new_order("c")));
        created.await.expect("on a new connection");
    }
}
