//! The external id of an order is unique in its tenant, and counts after the key.

use futures_util::future::join_all;
use order_service::store::{CreateOrder, CreateOutcome, Document, Idempotency};

use super::contract::{create, new_order, open_url, store, with_external_id};
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::Database;

crate::on_both!(
    conflicts_count_in_the_order_of_key_and_external_id,
    a_request_that_is_rejected_for_its_external_id_leaves_its_key_unused,
    one_of_many_requests_with_an_external_id_creates_an_order,
);

fn request(key: Option<(&str, u8)>, external_id: Option<&str>) -> CreateOrder {
    let mut request = new_order("");
    request.idempotency = key.map(|(key, request)| Idempotency::new(key, [request; 32]));
    match external_id {
        Some(external_id) => with_external_id(request, external_id),
        None => request,
    }
}

fn taken_by(order: &Document) -> CreateOutcome {
    CreateOutcome::ExternalIdTaken { order_id: order.id }
}

/// The number of orders, events, lines and keys.
async fn rows(database: &Database) -> [i64; 4] {
    let mut counts = [0; 4];
    for (count, table) in
        counts
            .iter_mut()
            .zip(["orders", "events", "order_items", "idempotency_keys"])
    {
        *count = database.count(table).await;
    }
    counts
}

async fn conflicts_count_in_the_order_of_key_and_external_id(database: Database) {
    let store = store(&database, &[]).await;
    let first = create(&store, request(Some(("key", 1)), Some("first"))).await;
    let second = create(&store, request(None, Some("second"))).await;
    let before = rows(&database).await;
    let replay = CreateOutcome::Replay(first.clone());
    let mut cases = Vec::new();
    for external_id in [None, Some("free"), Some("first"), Some("second")] {
        cases.push((Some(("key", 1)), external_id, replay.clone()));
        cases.push((Some(("key", 2)), external_id, CreateOutcome::KeyReused));
    }
    for key in [None, Some(("other key", 1)), Some(("other key", 2))] {
        cases.push((key, Some("first"), taken_by(&first)));
        cases.push((key, Some("second"), taken_by(&second)));
    }
    for (key, external_id, expected) in &cases {
        let outcome = store.create(request(*key, *external_id)).await;
        assert_eq!(outcome.as_ref(), Ok(expected), "{key:?} {external_id:?}");
    }
    // In one batch, with orders that are created.
    let conflicts = cases
        .iter()
        .map(|(key, external_id, _)| (*key, *external_id));
    let all: Vec<_> = conflicts
        .chain([
            (None, None),
            (Some(("new", 1)), Some("new")),
            (None, Some("newer")),
        ])
        .collect();
    let outcomes = all
        .iter()
        .map(|(key, external_id)| store.create(request(*key, *external_id)));
    let mut outcomes = join_all(outcomes).await;
    for outcome in outcomes.split_off(cases.len()) {
        assert!(matches!(outcome, Ok(CreateOutcome::New(_))), "{outcome:?}");
    }
    for (outcome, (key, external_id, expected)) in outcomes.iter().zip(&cases) {
        assert_eq!(outcome.as_ref(), Ok(expected), "{key:?} {external_id:?}");
    }
    let [orders, events, lines, keys] = before;
    let after = [orders + 3, events + 3, lines + 3, keys + 1];
    assert_eq!(rows(&database).await, after);
}

async fn a_request_that_is_rejected_for_its_external_id_leaves_its_key_unused(database: Database) {
    let store = store(&database, &[]).await;
    let holder = create(&store, request(None, Some("taken"))).await;
    for _ in 0..2 {
        let outcome = store.create(request(Some(("key", 1)), Some("taken"))).await;
        assert_eq!(outcome, Ok(taken_by(&holder)));
        assert_eq!(rows(&database).await, [1, 1, 1, 0]);
    }
    let order = create(&store, request(Some(("key", 2)), Some("free"))).await;
    let outcome = store.create(request(Some(("key", 1)), Some("taken"))).await;
    assert_eq!(outcome, Ok(CreateOutcome::KeyReused));
    let outcome = store.create(request(Some(("key", 2)), Some("free"))).await;
    assert_eq!(outcome, Ok(CreateOutcome::Replay(order)));
    assert_eq!(rows(&database).await, [2, 2, 2, 1]);
}

async fn one_of_many_requests_with_an_external_id_creates_an_order(database: Database) {
    let store = store(&database, &[]).await;
    for round in 0..10 {
        let external_id = format!("round-{round}");
        let keys: Vec<_> = (0..30).map(|i| format!("{round}-{}", i % 20)).collect();
        // A third without a key; of the others, some have the same key.
        let requests = keys.iter().enumerate().map(|(i, key)| {
            let key = (i % 3 > 0).then_some((key.as_str(), 1));
            store.create(request(key, Some(&external_id)))
        });
        let outcomes: Vec<_> = join_all(requests).await;
        let mut created = outcomes.iter().filter_map(|outcome| match outcome {
            Ok(CreateOutcome::New(document)) => Some(document.clone()),
            _ => None,
        });
        let (Some(order), None) = (created.next(), created.next()) else {
            panic!("{outcomes:?}");
        };
        let others = outcomes.iter().filter(|outcome| {
            let Ok(outcome) = outcome else {
                panic!("{outcome:?}");
            };
            *outcome == taken_by(&order) || *outcome == CreateOutcome::Replay(order.clone())
        });
        assert_eq!(others.count(), 29);
    }
    assert_eq!(database.count("orders").await, 10);
    let unused = "idempotency_keys WHERE order_id NOT IN (SELECT id FROM orders)";
    assert_eq!(database.count(unused).await, 0);
}

/// With one thread, all requests are in the queue before the first batch begins.
#[tokio::test]
async fn orders_of_one_batch_with_the_same_external_id_cause_no_error_of_the_database() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let (store, _) = open_url(&database.url(), &[]);
    let keys: Vec<_> = (0..20).map(|i| i.to_string()).collect();
    let requests = keys.iter().enumerate().map(|(i, key)| {
        let external_id = (i / 4).to_string();
        let key = (i % 4 > 0).then_some((key.as_str(), 1));
        store.create(request(key, Some(&external_id)))
    });
    let outcomes = join_all(requests).await;
    let created = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(CreateOutcome::New(_))));
    assert_eq!(created.count(), 5, "{outcomes:?}");
    let log = cluster.log();
    assert!(!log.contains("ERROR"), "{log}");
}
