//! The store from the outside, and the helpers for the other tests of the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use order_service::config::Cli;
use order_service::domain::{
    Caller, Draft, ItemsDraft, LineDraft, Metadata, NewOrder, Patch, ShortText, Status,
};
use order_service::store::{
    Connector, CreateOrder, CreateOutcome, Document, IfMatch, ListQuery, MigrateOptions, Readiness,
    Store, StoreError, UpdateOrder, check_database_url,
};
use order_service::telemetry::Metrics;
use serde_json::Value;
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::in_a_minute;

crate::on_both!(
    a_created_order_is_returned_by_its_id,
    an_unknown_id_returns_none,
    lists_are_newest_first_and_start_after_an_id,
    concurrent_creates_are_all_stored,
    a_full_store_rejects_at_once,
    a_caller_with_more_than_its_share_is_rejected_at_once,
    large_orders_take_more_of_the_capacity,
    readiness_reports_a_pending_migration,
    closing_waits_for_accepted_work,
    the_database_enforces_the_limits_as_well,
    an_unexpected_error_of_the_database_is_an_internal_error,
);

/// A store on a migrated database, with these command-line options.
pub(crate) async fn store(database: &Database, flags: &[&str]) -> Store {
    let (store, connector) = open(database, flags);
    connector.migrate(MigrateOptions::default()).await.unwrap();
    store
}

/// A store on a database that may not be migrated, and its connector.
fn open(database: &Database, flags: &[&str]) -> (Store, Connector) {
    open_url(&database.url(), flags)
}

pub(crate) fn open_url(url: &str, flags: &[&str]) -> (Store, Connector) {
    let words = ["order-service", "--database-url", url];
    let (_, settings) = Cli::read_from(words.iter().chain(flags), check_database_url).unwrap();
    let connector = Connector::new(&settings).unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let handle = tokio::runtime::Handle::current();
    let store = Store::new(connector.clone(), &settings, metrics, handle).unwrap();
    (store, connector)
}

pub(crate) fn caller() -> Arc<Caller> {
    Arc::new(Caller::anonymous())
}

/// A request for the smallest order.
pub(crate) fn new_order(product_id: &str) -> CreateOrder {
    let draft = Draft {
        items: ItemsDraft::single(format!("sku{product_id}"), 1),
        ..Draft::default()
    };
    CreateOrder {
        caller: caller(),
        new: NewOrder::parse(draft).unwrap(),
        idempotency: None,
        traceparent: None,
        deadline: in_a_minute(),
    }
}

/// The request with this external id.
pub(crate) fn with_external_id(mut request: CreateOrder, external_id: &str) -> CreateOrder {
    request.new.external_id = Some(ShortText::parse(external_id.to_owned()).unwrap());
    request
}

/// Creates an order and checks that it is new.
pub(crate) async fn create(store: &Store, request: CreateOrder) -> Document {
    match store.create(request).await.unwrap() {
        CreateOutcome::New(document) => document,
        other => panic!("{other:?}"),
    }
}

/// An update without conditions.
pub(crate) fn update(id: Uuid, patch: Patch) -> UpdateOrder {
    UpdateOrder {
        caller: caller(),
        id,
        patch,
        if_match: IfMatch::Any,
        if_none_match: None,
        traceparent: None,
        deadline: in_a_minute(),
    }
}

/// Cancels an order.
pub(crate) fn cancel() -> Patch {
    Patch {
        status: Some(Status::Cancelled),
        ..Patch::default()
    }
}

pub(crate) fn json(document: &Document) -> Value {
    serde_json::from_slice(&document.json).unwrap()
}

async fn a_created_order_is_returned_by_its_id(database: Database) {
    let store = store(&database, &[]).await;
    let new = NewOrder::parse(Draft {
        items: ItemsDraft::Listed(vec![
            LineDraft {
                product_id: "日本 \u{1F600} 'q' \\".to_owned(),
                quantity: 1_000_000,
                unit_amount: Some(9_007_199_254),
            },
            LineDraft {
                product_id: "discount".to_owned(),
                quantity: 1,
                unit_amount: Some(-1_000_000_000_000),
            },
        ]),
        currency: Some("JPY".to_owned()),
        external_id: Some("é".repeat(128)),
        customer_id: Some("c".repeat(128)),
        metadata: BTreeMap::from([("k/~\"".to_owned(), "line\nbreak\\".to_owned())]),
    })
    .unwrap();
    let request = CreateOrder {
        caller: caller(),
        new,
        ..new_order("")
    };
    let created = create(&store, request).await;
    assert_eq!((created.id.get_version_num(), created.version), (7, 1));
    let order = json(&created);
    assert_eq!(order["status"], "pending");
    assert_eq!(order["metadata"]["k/~\""], "line\nbreak\\");
    assert_eq!(
        store.get(&caller(), created.id).await.unwrap(),
        Some(created)
    );
}

async fn an_unknown_id_returns_none(database: Database) {
    let store = store(&database, &[]).await;
    assert_eq!(store.get(&caller(), Uuid::now_v7()).await, Ok(None));
}

async fn lists_are_newest_first_and_start_after_an_id(database: Database) {
    let store = store(&database, &[]).await;
    let mut created = Vec::new();
    for i in 0..5 {
        created.push(create(&store, new_order(&format!("sku-{i}"))).await.id);
    }
    created.reverse();
    let page = async |limit, starting_after| {
        let query = ListQuery {
            limit,
            starting_after,
            ..ListQuery::FIRST_PAGE
        };
        let page = store.list(&caller(), query).await.unwrap().page;
        let orders: Vec<Value> = serde_json::from_slice(&page.json).unwrap();
        let ids: Vec<Uuid> = orders
            .iter()
            .map(|order| order["id"].as_str().unwrap().parse().unwrap())
            .collect();
        // Only a full page has a next one.
        let full = u32::try_from(ids.len()) == Ok(limit);
        assert_eq!(page.next, ids.last().copied().filter(|_| full));
        ids
    };
    assert_eq!(page(100, None).await, created);
    assert_eq!(page(2, None).await, created[..2]);
    assert_eq!(page(2, Some(created[1])).await, created[2..4]);
    assert_eq!(page(2, Some(created[4])).await, Vec::<Uuid>::new());
    assert_eq!(page(2, Some(Uuid::nil())).await, Vec::<Uuid>::new());
    assert_eq!(page(2, Some(Uuid::max())).await, created[..2]);
}

async fn concurrent_creates_are_all_stored(database: Database) {
    let store = store(&database, &[]).await;
    let tasks: Vec<_> = (0..200)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move { create(&store, new_order(&i.to_string())).await.id })
        })
        .collect();
    for task in tasks {
        let id = task.await.unwrap();
        assert!(store.get(&caller(), id).await.unwrap().is_some());
    }
    assert_eq!(database.count("orders").await, 200);
}

/// A caller with this id.
fn caller_named(id: impl ToString) -> Arc<Caller> {
    Arc::new(Caller {
        id: id.to_string().into(),
        ..Caller::anonymous()
    })
}

async fn a_full_store_rejects_at_once(database: Database) {
    let store = store(&database, &["--queue-capacity", "3"]).await;
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            tokio::spawn({
                let (store, mut order) = (store.clone(), new_order("a"));
                order.caller = caller_named(number);
                async move { store.create(order).await }
            })
        })
        .collect();
    let (mut created, mut rejected) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => created += 1,
            Err(StoreError::Overloaded) => rejected += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(created >= 3 && rejected > 0, "{created} {rejected}");
    // Rejected orders are not stored, and the capacity is free again.
    assert_eq!(database.count("orders").await, created);
    store.create(new_order("b")).await.unwrap();
}

async fn a_caller_with_more_than_its_share_is_rejected_at_once(database: Database) {
    let store = store(&database, &["--queue-capacity", "6"]).await;
    let flood = (0..50).map(|_| store.create(new_order("a")));
    let mut other = new_order("b");
    other.caller = caller_named("other");
    let other = store.create(other);
    let (responses, other) = tokio::join!(futures_util::future::join_all(flood), other);
    let created = responses.iter().filter(|response| response.is_ok()).count();
    let rejected = responses
        .iter()
        .filter(|response| matches!(response, Err(StoreError::ShareExceeded)));
    // On a busy machine, the first orders may be created before the last ones are submitted.
    let rejected = rejected.count();
    assert_eq!(created + rejected, 50, "{responses:?}");
    assert!(created >= 3 && rejected > 0, "{created} {rejected}");
    other.unwrap();
    assert_eq!(
        database.count("orders").await,
        i64::try_from(created).unwrap() + 1
    );
}

async fn large_orders_take_more_of_the_capacity(database: Database) {
    let store = store(&database, &["--queue-capacity", "80"]).await;
    let mut large = new_order("large");
    let entries = (0..50).map(|n| (n.to_string(), "x".repeat(500)));
    large.new.metadata = Metadata::parse(entries.collect()).unwrap();
    let rejected_of_20 = async |order: &CreateOrder| {
        let all = (0..20).map(|_| store.create(order.clone()));
        let responses = futures_util::future::join_all(all).await;
        assert!(responses.iter().any(Result::is_ok));
        let is_rejected = |it: &&_| matches!(it, Err(StoreError::ShareExceeded));
        responses.iter().filter(is_rejected).count()
    };
    assert_eq!(rejected_of_20(&new_order("small")).await, 0);
    // On a busy machine the first orders may be created before the last ones are sent.
    let mut rounds = 0;
    while rejected_of_20(&large).await == 0 {
        rounds += 1;
        assert!(rounds < 20, "large orders take no more than small ones");
    }
}

async fn readiness_reports_a_pending_migration(database: Database) {
    let (store, connector) = open(&database, &[]);
    assert_eq!(store.readiness().await, Readiness::SchemaBehind);
    let pending = connector.pending(Duration::ZERO).await.unwrap();
    assert!(!pending.is_empty());
    let applied = connector.migrate(MigrateOptions::default()).await.unwrap();
    assert_eq!(applied, pending);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(store.readiness().await, Readiness::Ready);
}

async fn closing_waits_for_accepted_work(database: Database) {
    let store = store(&database, &[]).await;
    let mut creates = Vec::new();
    for _ in 0..20 {
        let store = store.clone();
        // One poll makes the store accept the order; then the future is dropped.
        let mut create = Box::pin(async move { store.create(new_order("a")).await });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(create.as_mut().poll(&mut context).is_pending());
        creates.push(create);
    }
    drop(creates);
    assert!(store.close(Duration::from_secs(10)).await);
    assert_eq!(database.count("orders").await, 20);
    assert!(matches!(
        store.create(new_order("b")).await,
        Err(StoreError::Unavailable(_))
    ));
}

async fn the_database_enforces_the_limits_as_well(database: Database) {
    let (store, connector) = open(&database, &[]);
    connector.migrate(MigrateOptions::default()).await.unwrap();
    create(&store, new_order("a")).await;
    let long = format!("product_id = '{}'", "x".repeat(129));
    let long_tenant = format!("tenant = '{}'", "x".repeat(65));
    let legal =
        "customer_id = NULL, version = 2, currency = 'EUR', total_amount = 9007199254740991";
    let legal_line =
        "product_id = 'b', quantity = 1000000, unit_amount = -1000000000000, line = 100";
    for (table, change, rejected) in [
        ("orders", legal, false),
        ("orders", "customer_id = ''", true),
        ("orders", "external_id = ''", true),
        ("orders", "currency = 'EURO'", true),
        ("orders", "total_amount = -1", true),
        ("orders", "total_amount = 9007199254740992", true),
        ("orders", "status = 'lost'", true),
        ("orders", "version = 0", true),
        ("orders", "json_bytes = 1", true),
        ("orders", "tenant = ''", true),
        ("orders", &long_tenant, true),
        ("order_items", legal_line, false),
        ("order_items", "product_id = ''", true),
        ("order_items", &long, true),
        ("order_items", "quantity = 0", true),
        ("order_items", "quantity = 1000001", true),
        ("order_items", "unit_amount = 1000000000001", true),
        ("order_items", "unit_amount = -1000000000001", true),
        ("order_items", "line = 0", true),
        ("order_items", "line = 101", true),
        ("order_items", "status = 'lost'", true),
    ] {
        let error = database
            .error_of(&format!("UPDATE {table} SET {change}"))
            .await;
        assert_eq!(error.is_some(), rejected, "{change}: {error:?}");
        assert!(
            error.is_none_or(|text| text.to_lowercase().contains("check constraint")),
            "{change}"
        );
    }
}

async fn an_unexpected_error_of_the_database_is_an_internal_error(database: Database) {
    let store = store(&database, &[]).await;
    let rejecting = if database.is_postgres() {
        "CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''not here''; END';
        CREATE TRIGGER reject BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION reject()"
    } else {
        "CREATE TRIGGER reject BEFORE INSERT ON orders BEGIN SELECT RAISE(ABORT, 'not here'); END"
    };
    database.execute(rejecting).await;
    let error = store.create(new_order("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::Internal(_)), "{error}");
}
