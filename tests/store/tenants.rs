//! Tenants see nothing of each other.

mod isolation;
mod same_id;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use order_service::domain::{AuthType, Caller, Tenant};
use order_service::store::{
    CreateOrder, CreateOutcome, Cursor, Event, EventPage, Feed, Idempotency, ListQuery, NextEvents,
    Store, UpdateOutcome,
};
use serde_json::Value;

use super::contract::{create, json, new_order, store, update, with_external_id};
use crate::support::database::Database;

crate::on_both!(
    tenants_use_the_same_key_and_external_id_at_the_same_time,
    first_pages_of_many_tenants_are_read_at_the_same_time,
    a_cursor_is_of_one_tenant_and_of_one_database,
    a_cursor_is_the_same_in_pages_and_streams,
    retention_of_one_tenant_expires_no_cursor_of_another,
    a_stream_of_a_quiet_tenant_gets_its_events_among_those_of_others,
    events_name_the_caller,
    every_unique_key_begins_with_the_tenant,
);

/// A caller of this tenant, with an API key of the same name.
fn caller_of(tenant: &str) -> Arc<Caller> {
    Arc::new(Caller {
        tenant: Tenant::parse(tenant).unwrap(),
        id: tenant.into(),
        auth_type: AuthType::ApiKey,
    })
}

/// A request of this tenant for an order.
fn order_of(tenant: &str, product_id: &str) -> CreateOrder {
    CreateOrder {
        caller: caller_of(tenant),
        ..new_order(product_id)
    }
}

fn with_key(mut order: CreateOrder, key: &str) -> CreateOrder {
    order.idempotency = Some(Idempotency::new(key, [7; 32]));
    order
}

/// Reads a page of the feed of a tenant.
async fn page(store: &Store, tenant: &str, after: Option<Cursor>) -> Option<(Vec<Event>, Cursor)> {
    match store
        .feed(&caller_of(tenant), after, 100)
        .await
        .unwrap()
        .page
    {
        Feed::Page {
            page: EventPage { events, .. },
            next,
        } => Some((events, next)),
        Feed::Expired { .. } => None,
    }
}

/// Reads the feed of a tenant until it has this many events. On PostgreSQL it waits for every earlier transaction of
/// the cluster, including those of other tests.
async fn events(store: &Store, tenant: &str, count: usize) -> (Vec<Event>, Cursor) {
    for _ in 0..1_500 {
        let (events, next) = page(store, tenant, None).await.unwrap();
        if events.len() >= count {
            return (events, next);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{tenant} does not have {count} events");
}

async fn tenants_use_the_same_key_and_external_id_at_the_same_time(database: Database) {
    let store = store(&database, &[]).await;
    let tenants: Vec<_> = (0..100).map(|i| format!("tenant-{i}")).collect();
    let create = async |key: &str| {
        let orders = tenants.iter().map(|tenant| {
            let order = with_external_id(order_of(tenant, tenant), "external");
            store.create(with_key(order, key))
        });
        join_all(orders).await
    };
    let (first, again) = (create("key").await, create("key").await);
    let others = create("other").await;
    for (((tenant, first), again), other) in tenants.iter().zip(first).zip(again).zip(others) {
        let CreateOutcome::New(document) = first.unwrap() else {
            panic!("{tenant} got the order of another");
        };
        assert_eq!(json(&document)["product_id"], format!("sku{tenant}"));
        let order_id = document.id;
        assert_eq!(other.unwrap(), CreateOutcome::ExternalIdTaken { order_id });
        assert_eq!(again.unwrap(), CreateOutcome::Replay(document));
    }
}

async fn first_pages_of_many_tenants_are_read_at_the_same_time(database: Database) {
    let store = store(&database, &[]).await;
    let tenants: Vec<_> = (0..300).map(|i| format!("tenant-{i}")).collect();
    join_all(
        tenants
            .iter()
            .map(|tenant| create(&store, order_of(tenant, tenant))),
    )
    .await;
    // More than the permits for pages: a page must not wait for those of the other tenants of its batch.
    let pages = tenants.iter().map(async |tenant| {
        let page = store.list(&caller_of(tenant), ListQuery::FIRST_PAGE).await;
        let page = page.unwrap().page;
        let orders: Vec<Value> = serde_json::from_slice(&page.json).unwrap();
        assert_eq!(orders.len(), 1);
        assert_eq!(orders[0]["product_id"], format!("sku{tenant}"));
    });
    let done = tokio::time::timeout(Duration::from_secs(20), join_all(pages)).await;
    assert!(done.is_ok(), "the pages wait for each other");
}

async fn a_cursor_is_of_one_tenant_and_of_one_database(database: Database) {
    let store = store(&database, &[]).await;
    let (_, before_all) = page(&store, "acme", None).await.unwrap();
    create(&store, order_of("acme", "a")).await;
    let (_, cursor) = events(&store, "acme", 1).await;
    assert!(page(&store, "acme", Some(cursor)).await.is_some());
    for cursor in [cursor, before_all] {
        assert!(page(&store, "other", Some(cursor)).await.is_none());
        let mut reader = store.follow(&caller_of("other"), Some(cursor)).unwrap();
        let NextEvents::Expired { oldest } = reader.try_next().await.unwrap() else {
            panic!("the reader continues at the cursor of another tenant");
        };
        assert!(page(&store, "other", Some(oldest)).await.is_some());
    }
    // The database is replaced by another one.
    let new_key = if database.is_postgres() {
        "UPDATE feed SET cursor_key = sha256('x')"
    } else {
        "UPDATE feed SET cursor_key = randomblob(32)"
    };
    database.execute(new_key).await;
    assert!(page(&store, "acme", Some(cursor)).await.is_none());
    let (_, renewed) = page(&store, "acme", None).await.unwrap();
    assert_ne!(renewed, cursor);
    assert!(page(&store, "acme", Some(renewed)).await.is_some());
}

async fn a_cursor_is_the_same_in_pages_and_streams(database: Database) {
    let store = store(&database, &[]).await;
    let caller = caller_of("acme");
    let mut live = store.follow(&caller, None).unwrap();
    assert_eq!(
        live.try_next().await.unwrap(),
        NextEvents::Events(Vec::new())
    );
    for i in 0..5 {
        create(&store, order_of("acme", &i.to_string())).await;
    }
    let (_, last) = events(&store, "acme", 5).await;
    // From the database, and from the recent events.
    let mut late = store.follow(&caller, None).unwrap();
    for reader in [&mut late, &mut live] {
        let mut cursors = Vec::new();
        while cursors.len() < 5 {
            let NextEvents::Events(events) = reader.next().await.unwrap() else {
                panic!("the reader has expired");
            };
            cursors.extend(events.iter().map(|event| event.cursor));
        }
        assert_eq!(cursors.last(), Some(&last));
        assert_eq!(reader.cursor(), Some(last));
        for (read, cursor) in cursors.into_iter().enumerate() {
            let (rest, next) = page(&store, "acme", Some(cursor)).await.unwrap();
            assert_eq!((rest.len(), next), (4 - read, last));
        }
    }
}

async fn retention_of_one_tenant_expires_no_cursor_of_another(database: Database) {
    let store = store(&database, &[]).await;
    create(&store, order_of("quiet", "a")).await;
    let (_, quiet) = events(&store, "quiet", 1).await;
    let (_, beginning) = page(&store, "unknown", None).await.unwrap();
    for i in 0..3 {
        create(&store, order_of("busy", &i.to_string())).await;
    }
    let (_, end) = events(&store, "busy", 3).await;
    let first = store.feed(&caller_of("busy"), None, 1).await.unwrap().page;
    let Feed::Page { next: first, .. } = first else {
        panic!("the feed has expired");
    };
    let columns = if database.is_postgres() {
        "tenant, position, seq, order_id, version, occurred_at"
    } else {
        "tenant, seq, order_id, version, occurred_at"
    };
    database
        .execute(&format!(
            "INSERT INTO feed_floors ({columns}) SELECT {columns} FROM events
                WHERE tenant = 'busy' ORDER BY seq DESC LIMIT 1;
            DELETE FROM events WHERE tenant = 'busy'"
        ))
        .await;
    assert!(page(&store, "busy", Some(first)).await.is_none());
    assert!(page(&store, "busy", Some(end)).await.is_some());
    assert!(page(&store, "quiet", Some(quiet)).await.is_some());
    assert!(page(&store, "unknown", Some(beginning)).await.is_some());
    assert_eq!(page(&store, "quiet", None).await.unwrap().0.len(), 1);
    // New events follow the floor of the other tenant, too.
    create(&store, order_of("quiet", "b")).await;
    assert_eq!(events(&store, "quiet", 2).await.0.len(), 2);
}

async fn a_stream_of_a_quiet_tenant_gets_its_events_among_those_of_others(database: Database) {
    let store = store(&database, &[]).await;
    let mut quiet = store.follow(&caller_of("quiet"), None).unwrap();
    let mut busy = store.follow(&caller_of("busy"), None).unwrap();
    let mut received = 0;
    for round in 0..10 {
        let orders = (0..50).map(|i| create(&store, order_of("busy", &i.to_string())));
        join_all(orders).await;
        let order = create(&store, order_of("quiet", &round.to_string())).await;
        let NextEvents::Events(events) = quiet.next().await.unwrap() else {
            panic!("the reader has expired");
        };
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].event.order_id, order.id);
        while received < (round + 1) * 50 {
            let NextEvents::Events(events) = busy.next().await.unwrap() else {
                panic!("the reader has expired");
            };
            received += events.len();
        }
        assert_eq!(received, (round + 1) * 50);
    }
}

async fn events_name_the_caller(database: Database) {
    let store = store(&database, &[]).await;
    let anonymous = Arc::new(Caller::anonymous());
    let order = create(&store, new_order("a")).await;
    let person = Arc::new(Caller {
        id: "https://login.example.com/|ann@example.com".into(),
        auth_type: AuthType::Unknown,
        ..Caller::anonymous()
    });
    let mut command = update(order.id, super::contract::cancel());
    command.caller = person;
    let updated = store.update(command).await.unwrap();
    assert!(matches!(updated, UpdateOutcome::Current(_)));
    create(&store, order_of("acme", "a")).await;
    let page = store.order_events(&anonymous, order.id, 0, 100).await;
    let callers = |events: &[Event]| -> Vec<(String, Option<String>)> {
        events
            .iter()
            .map(|event| (event.authtype.clone(), event.authid.clone()))
            .collect()
    };
    let of_order = callers(&page.unwrap().page.events);
    assert_eq!(of_order[0], ("unauthenticated".to_owned(), None));
    let (kind, id) = &of_order[1];
    assert_eq!(kind, "unknown");
    let id = id.as_deref().unwrap();
    assert!(id.starts_with("https://login.example.com/|sha256:"), "{id}");
    let (of_tenant, _) = events(&store, "acme", 1).await;
    let acme = ("api_key".to_owned(), Some("acme".to_owned()));
    assert_eq!(callers(&of_tenant), [acme]);
}

async fn every_unique_key_begins_with_the_tenant(database: Database) {
    store(&database, &[]).await;
    // The sequence alone identifies an event in SQLite, which assigns it.
    let (keys, of_tenants) = if database.is_postgres() {
        (
            "pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
                WHERE indisunique AND indrelid IN
                    ('orders'::regclass, 'order_items'::regclass, 'idempotency_keys'::regclass, 'events'::regclass, 'feed_floors'::regclass,
                    'archived_orders'::regclass, 'erasures'::regclass, 'erasure_orders'::regclass)",
            " AND attname = 'tenant'",
        )
    } else {
        (
            "sqlite_master AS t, pragma_index_list(t.name) AS i, pragma_index_info(i.name) AS c
                WHERE t.type = 'table' AND i.\"unique\" AND c.seqno = 0 AND t.name NOT LIKE '\\_\\_%' ESCAPE '\\'",
            " AND c.name = 'tenant'",
        )
    };
    let all = database.count(keys).await;
    // The feed of SQLite has a unique index, too.
    assert_eq!(all, if database.is_postgres() { 11 } else { 12 });
    assert_eq!(database.count(&format!("{keys}{of_tenants}")).await, all);
}
