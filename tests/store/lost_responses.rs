//! An order is created once, and its 201 is proven, although the response of the database is lost or the statement
//! finds an order with the same id.

use std::collections::HashSet;
use std::sync::Arc;

use order_service::store::{CreateOrder, CreateOutcome, Idempotency, Store};

use super::contract::{caller, create, new_order, open_url, with_external_id};
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::proxy::Proxy;

/// A cluster whose log the test reads, and a store that reaches it through a proxy. The store has created one order,
/// so its statement is prepared.
async fn through_proxy() -> (Cluster, Database, Proxy, Store) {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let proxy = Proxy::in_front_of(&database).await;
    let (store, _) = open_url(proxy.url(), &["--pool-min-idle", "1"]);
    create(&store, new_order("-first")).await;
    (cluster, database, proxy, store)
}

fn keyed(product_id: &str) -> CreateOrder {
    let idempotency = Idempotency::new(&format!("key{product_id}"), [7; 32]);
    CreateOrder {
        caller: caller(),
        idempotency: Some(idempotency),
        ..new_order(product_id)
    }
}

const DUPLICATE_KEY: &str = "duplicate key value violates unique constraint";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_response_is_lost_is_created_once() {
    let (cluster, database, proxy, store) = through_proxy().await;
    proxy.lose_response_to("sku-lost");
    let order = create(&store, new_order("-lost")).await;
    assert_eq!(proxy.lost(), 1);
    assert!(store.get(&caller(), order.id).await.unwrap().is_some());
    assert_eq!(database.count("orders").await, 2);
    assert_eq!(database.count("events").await, 2);
    let log = cluster.log();
    assert_eq!(log.matches(DUPLICATE_KEY).count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_with_a_key_whose_response_is_lost_is_created_once_and_without_an_error() {
    let (cluster, database, proxy, store) = through_proxy().await;
    proxy.lose_response_to("sku-lost");
    let order = create(&store, keyed("-lost")).await;
    assert_eq!(proxy.lost(), 1);
    assert!(store.get(&caller(), order.id).await.unwrap().is_some());
    assert_eq!(database.count("orders").await, 2);
    assert_eq!(database.count("events").await, 2);
    assert_eq!(database.count("idempotency_keys").await, 1);
    let log = cluster.log();
    assert!(!log.contains(DUPLICATE_KEY), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_with_an_external_id_whose_response_is_lost_is_created_once_and_without_an_error()
{
    let (cluster, database, proxy, store) = through_proxy().await;
    for (product_id, request) in [
        ("sku-lost", new_order("-lost")),
        ("sku-with-key", keyed("-with-key")),
    ] {
        let lost = proxy.lost();
        proxy.lose_response_to(product_id);
        let request = with_external_id(request, product_id);
        let order = create(&store, request.clone()).await;
        assert_eq!(proxy.lost(), lost + 1);
        assert!(store.get(&caller(), order.id).await.unwrap().is_some());
        // A retry of the client has another id.
        let retry = store.create(request.clone()).await.unwrap();
        let expected = if request.idempotency.is_some() {
            CreateOutcome::Replay(order)
        } else {
            CreateOutcome::ExternalIdTaken { order_id: order.id }
        };
        assert_eq!(retry, expected);
    }
    assert_eq!(database.count("orders").await, 3);
    assert_eq!(database.count("events").await, 3);
    assert_eq!(database.count("idempotency_keys").await, 1);
    let log = cluster.log();
    assert!(!log.contains(DUPLICATE_KEY), "{log}");
}

/// Of the orders with the same external id in one batch, one is created. That takes a transaction of several
/// statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_compete_for_an_external_id_are_created_once_if_the_response_to_the_commit_is_lost()
 {
    let (_cluster, database, proxy, store) = through_proxy().await;
    proxy.lose_response_to("COMMIT");
    let requests: Vec<_> = (0..40)
        .map(|i| with_external_id(keyed(&format!("-{i}")), &format!("external-{}", i / 2)))
        .collect();
    let outcomes = requests.iter().map(|request| store.create(request.clone()));
    let outcomes = futures_util::future::join_all(outcomes).await;
    assert_eq!(proxy.lost(), 1);
    let mut created = Vec::new();
    for (pair, outcomes) in requests.chunks(2).zip(outcomes.chunks(2)) {
        let (winner, order, other) = match outcomes {
            [Ok(CreateOutcome::New(order)), Ok(other)] => (&pair[0], order, other),
            [Ok(other), Ok(CreateOutcome::New(order))] => (&pair[1], order, other),
            _ => panic!("{outcomes:?}"),
        };
        let order_id = order.id;
        assert_eq!(*other, CreateOutcome::ExternalIdTaken { order_id });
        created.push((winner.clone(), order.clone()));
    }
    assert_eq!(database.count("orders").await, 21);
    assert_eq!(database.count("idempotency_keys").await, 20);
    for (request, order) in created {
        let retry = store.create(request).await;
        assert_eq!(retry, Ok(CreateOutcome::Replay(order)));
    }
}

/// Makes the next insert fail as if an order with the same id existed.
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
async fn a_batch_with_an_order_that_exists_creates_the_other_orders() {
    let database = Database::postgres().await;
    migrate(&database);
    let (store, _) = open_url(&database.url(), &[]);
    let store = Arc::new(store);
    create(&store, new_order("-first")).await;
    database.execute(FAIL_ONCE).await;
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let store = Arc::clone(&store);
            let product = format!("-{i}");
            let request = if i % 2 == 0 {
                keyed(&product)
            } else {
                new_order(&product)
            };
            tokio::spawn(async move { create(&store, request).await })
        })
        .collect();
    let mut ids = HashSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap().id);
    }
    assert_eq!(ids.len(), 20);
    assert_eq!(database.count("orders").await, 21);
    assert_eq!(database.count("events").await, 21);
    assert_eq!(database.count("idempotency_keys").await, 10);
    // The failed insert counts, because a sequence keeps its value when a transaction is rolled back.
    assert!(database.number("SELECT last_value FROM inserts").await > 20);
}
