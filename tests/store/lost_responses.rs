//! An order is placed once, and its 201 is proven, although the response of the database to its statement is
//! lost or the statement meets an order with its id.

use order_service::store::{CreateOrder, Idempotency, Store};

use super::contract::{new_order, open_url, place};
use crate::support::database::{Cluster, Database};
use crate::support::proxy::Proxy;
use crate::support::server::migrate;

/// A cluster, of which the log is read, and a store behind a proxy that has placed an order, so that its
/// statement is prepared.
async fn behind_proxy() -> (Cluster, Database, Proxy, Store) {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    migrate(&database);
    let proxy = Proxy::before(&database).await;
    let (store, _) = open_url(proxy.url(), &["--pool-min-idle", "1"]);
    place(&store, new_order("-first")).await;
    (cluster, database, proxy, store)
}

fn keyed(product_id: &str) -> CreateOrder {
    let idempotency = Idempotency {
        key: format!("key{product_id}"),
        hash: [7; 32],
    };
    CreateOrder {
        idempotency: Some(idempotency),
        ..new_order(product_id)
    }
}

async fn count(database: &Database, table: &str) -> i64 {
    database
        .number(&format!("SELECT count(*) FROM {table}"))
        .await
}

const REFUSED: &str = "duplicate key value violates unique constraint";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_response_was_lost_is_placed_once() {
    let (cluster, database, proxy, store) = behind_proxy().await;
    proxy.lose_response_to("sku-lost");
    let order = place(&store, new_order("-lost")).await;
    assert_eq!(proxy.lost(), 1);
    assert!(store.get(order.id).await.unwrap().is_some());
    assert_eq!(count(&database, "orders").await, 2);
    assert_eq!(count(&database, "events").await, 2);
    let log = cluster.log();
    assert_eq!(log.matches(REFUSED).count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_with_a_key_whose_response_was_lost_is_placed_once_and_without_an_error() {
    let (cluster, database, proxy, store) = behind_proxy().await;
    proxy.lose_response_to("sku-lost");
    let order = place(&store, keyed("-lost")).await;
    assert_eq!(proxy.lost(), 1);
    assert!(store.get(order.id).await.unwrap().is_some());
    for table in ["orders", "events"] {
        assert_eq!(count(&database, table).await, 2);
    }
    assert_eq!(count(&database, "idempotency_keys").await, 1);
    let log = cluster.log();
    assert!(!log.contains(REFUSED), "{log}");
}

/// Fails the first insert after it as an order with the same id would.
const FAIL_ONCE: &str = "
    CREATE SEQUENCE inserts;
    CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('inserts') = 1 THEN
            RAISE unique_violation;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fail_once BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION fail_once();";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_which_one_order_exists_places_the_others() {
    let database = Database::postgres().await;
    migrate(&database);
    let (store, _) = open_url(&database.url(), &[]);
    let store = std::sync::Arc::new(store);
    place(&store, new_order("-first")).await;
    database.execute(FAIL_ONCE).await;
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let store = std::sync::Arc::clone(&store);
            let product = format!("-{i}");
            let placing = if i % 2 == 0 {
                keyed(&product)
            } else {
                new_order(&product)
            };
            tokio::spawn(async move { place(&store, placing).await })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap().id);
    }
    assert_eq!(ids.len(), 20);
    assert_eq!(count(&database, "orders").await, 21);
    assert_eq!(count(&database, "events").await, 21);
    assert_eq!(count(&database, "idempotency_keys").await, 10);
    // One failed, all succeeded in the end.
    assert!(database.number("SELECT last_value FROM inserts").await > 20);
}
