//! What the queues must not change: a client reads what it wrote, and bad neighbours do not hurt.

use std::collections::BTreeMap;

use super::contract::{new_order, place, store};
use crate::support::database::Database;
use crate::support::in_a_minute;
use order_service::domain::{Draft, MetadataPatch, NewOrder, Patch};
use order_service::store::{
    CreateOrder, CreateOutcome, IfMatch, ListQuery, UpdateOrder, UpdateOutcome,
};

crate::on_both!(
    a_client_reads_what_it_placed,
    a_client_reads_what_it_changed,
    one_bad_row_does_not_fail_its_neighbours
);

/// Each of many clients writes and reads at once, each write followed by two reads; none ever sees
/// less than it wrote. On PostgreSQL these are 102 400 pairs of a write and a read.
async fn a_client_reads_what_it_placed(database: Database) {
    let store = store(&database, &[]).await;
    let (clients, rounds) = if database.is_postgres() {
        (64, 800)
    } else {
        (32, 10)
    };
    at_once(clients, |client| {
        let store = store.clone();
        async move {
            for round in 0..rounds {
                let order = place(&store, new_order(&client.to_string())).await;
                let read = store.get(order.id).await.unwrap();
                assert_eq!(read.as_ref(), Some(&order), "{client} {round}");
                let page = store.list(ListQuery::FIRST_PAGE).await.unwrap();
                let page = std::str::from_utf8(&page.page.json).unwrap();
                // It may be missing only when a whole page of others came after it.
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

async fn a_client_reads_what_it_changed(database: Database) {
    let store = store(&database, &[]).await;
    at_once(32, |client| {
        let store = store.clone();
        async move {
            let order = place(&store, new_order(&client.to_string())).await;
            for round in 0..20 {
                let note = BTreeMap::from([("round".to_owned(), Some(round.to_string()))]);
                let command = UpdateOrder {
                    id: order.id,
                    patch: Patch {
                        metadata: Some(MetadataPatch::Merge(note)),
                        ..Default::default()
                    },
                    if_match: IfMatch::Any,
                    if_none_match: None,
                    traceparent: None,
                    deadline: in_a_minute(),
                };
                let UpdateOutcome::Now(changed) = store.update(command).await.unwrap() else {
                    panic!("not changed");
                };
                assert_eq!(store.get(order.id).await.unwrap(), Some(changed));
            }
        }
    })
    .await;
}

/// Runs so many clients beside each other to their end.
async fn at_once<F>(clients: usize, client: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..clients).map(|n| tokio::spawn(client(n))).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn one_bad_row_does_not_fail_its_neighbours(database: Database) {
    let store = store(&database, &[]).await;
    // A rule that the service does not know, as a later schema might have one.
    let rule = if database.is_postgres() {
        "ALTER TABLE orders ADD CONSTRAINT no_bad CHECK (product_id <> 'skubad')"
    } else {
        "CREATE TRIGGER no_bad BEFORE INSERT ON orders WHEN NEW.product_id = 'skubad'
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
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 180);
    assert_eq!(database.number("SELECT count(*) FROM events").await, 180);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cached_plan_that_a_migration_outdated_heals() {
    let database = Database::postgres().await;
    let store = store(&database, &["--pool-min-idle", "5"]).await;
    let placing = |i: usize| CreateOrder {
        new: NewOrder::parse(Draft {
            product_id: format!("sku-{i}"),
            quantity: 1,
            ..Draft::default()
        })
        .unwrap(),
        idempotency: None,
        traceparent: None,
        deadline: in_a_minute(),
    };
    // Warm every connection and its prepared statements.
    let rounds = async |count: usize| {
        let tasks: Vec<_> = (0..count)
            .map(|i| {
                let (store, placing) = (store.clone(), placing(i));
                tokio::spawn(async move {
                    let order = place(&store, placing).await;
                    assert!(store.get(order.id).await.unwrap().is_some());
                    store
                        .list(ListQuery {
                            limit: 5,
                            ..ListQuery::FIRST_PAGE
                        })
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
        .execute("ALTER TABLE orders ALTER COLUMN product_id TYPE varchar(200)")
        .await;
    rounds(200).await;
}
