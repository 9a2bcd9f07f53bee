//! Batches are invisible: a client reads its own writes, and an invalid row fails alone.

use std::collections::BTreeMap;

use order_service::domain::{Draft, ItemsDraft, MetadataPatch, NewOrder, Patch};
use order_service::store::{CreateOrder, CreateOutcome, ListQuery, UpdateOutcome};

use super::contract::{caller, create, new_order, store, update};
use crate::support::database::Database;
use crate::support::in_a_minute;

crate::on_both!(
    a_client_reads_the_orders_that_it_created,
    a_client_reads_the_updates_that_it_made,
    an_invalid_row_does_not_fail_other_rows_of_its_batch
);

/// Many clients run concurrently. Each reads after each of its writes twice, and must find what it wrote. On PostgreSQL
/// these are 102 400 pairs of a write and a read.
async fn a_client_reads_the_orders_that_it_created(database: Database) {
    let store = store(&database, &[]).await;
    let (clients, rounds) = if database.is_postgres() {
        (64, 800)
    } else {
        (32, 10)
    };
    run_concurrently(clients, |client| {
        let store = store.clone();
        async move {
            for round in 0..rounds {
                let order = create(&store, new_order(&client.to_string())).await;
                let read = store.get(&caller(), order.id).await.unwrap();
                assert_eq!(read.as_ref(), Some(&order), "{client} {round}");
                let page = store.list(&caller(), ListQuery::FIRST_PAGE).await.unwrap();
                let page = std::str::from_utf8(&page.page.json).unwrap();
                // It may be missing only when a whole page of newer orders was created since.
                let id = order.id.to_string();
                let oldest = page
                    .rfind(r#"{"id":""#)
                    .and_then(|at| page.get(at + 7..at + 43));
                assert!(
                    page.contains(&id) || oldest.unwrap() > id.as_str(),
                    "{client} {round}"
                );
            }
        }
    })
    .await;
}

async fn a_client_reads_the_updates_that_it_made(database: Database) {
    let store = store(&database, &[]).await;
    run_concurrently(32, |client| {
        let store = store.clone();
        async move {
            let order = create(&store, new_order(&client.to_string())).await;
            for round in 0..20 {
                let note = BTreeMap::from([("round".to_owned(), Some(round.to_string()))]);
                let patch = Patch {
                    metadata: Some(MetadataPatch::Merge(note)),
                    ..Default::default()
                };
                let command = update(order.id, patch);
                let UpdateOutcome::Current(changed) = store.update(command).await.unwrap() else {
                    panic!("not updated");
                };
                assert_eq!(store.get(&caller(), order.id).await.unwrap(), Some(changed));
            }
        }
    })
    .await;
}

/// Runs this number of clients concurrently until all have finished.
async fn run_concurrently<F>(clients: usize, client: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..clients).map(|n| tokio::spawn(client(n))).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn an_invalid_row_does_not_fail_other_rows_of_its_batch(database: Database) {
    let store = store(&database, &[]).await;
    // A constraint that the service does not check, as a later schema may have.
    let rule = if database.is_postgres() {
        "ALTER TABLE order_items ADD CONSTRAINT no_bad CHECK (product_id <> 'skubad')"
    } else {
        "CREATE TRIGGER no_bad BEFORE INSERT ON order_items WHEN NEW.product_id = 'skubad'
         BEGIN SELECT RAISE(ABORT, 'no_bad'); END"
    };
    database.execute(rule).await;
    let tasks: Vec<_> = (0..200)
        .map(|i| {
            let store = store.clone();
            let name = if i % 10 == 0 { "bad" } else { "good" };
            tokio::spawn(async move { (name, store.create(new_order(name)).await) })
        })
        .collect();
    let (mut good, mut bad) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            ("good", Ok(CreateOutcome::New(_))) => good += 1,
            ("bad", Err(_)) => bad += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((good, bad), (180, 20));
    assert_eq!(database.count("orders").await, 180);
    assert_eq!(database.count("events").await, 180);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_statement_that_a_migration_invalidates_is_replaced() {
    let database = Database::postgres().await;
    let store = store(&database, &["--pool-min-idle", "5"]).await;
    let request = |i: usize| CreateOrder {
        caller: caller(),
        new: NewOrder::parse(Draft {
            items: ItemsDraft::single(format!("sku-{i}"), 1),
            ..Draft::default()
        })
        .unwrap(),
        idempotency: None,
        traceparent: None,
        deadline: in_a_minute(),
    };
    // Prepares the statements on every connection.
    let rounds = async |count: usize| {
        let tasks: Vec<_> = (0..count)
            .map(|i| {
                let (store, request) = (store.clone(), request(i));
                tokio::spawn(async move {
                    let order = create(&store, request).await;
                    assert!(store.get(&caller(), order.id).await.unwrap().is_some());
                    store
                        .list(
                            &caller(),
                            ListQuery {
                                limit: 5,
                                ..ListQuery::FIRST_PAGE
                            },
                        )
                        .await
                        .unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    rounds(100).await;
    database
        .execute("ALTER TABLE orders ALTER COLUMN customer_id TYPE varchar(200)")
        .await;
    rounds(200).await;
}
