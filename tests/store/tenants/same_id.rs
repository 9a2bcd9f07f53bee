//! Two tenants have orders with the same id, so a statement that selects by the id alone reads or writes the order of
//! the wrong tenant. The service never creates such orders: a new id is unique in practice.

use order_service::domain::{MetadataPatch, Patch};
use order_service::store::{ListQuery, Store, UpdateOutcome};
use serde_json::Value;
use uuid::Uuid;

use super::{caller_of, events, order_of, page};
use crate::contract::{create, json, store, update};
use crate::support::database::Database;

crate::on_both!(
    an_id_names_another_order_in_each_tenant,
    a_cursor_has_expired_when_only_another_tenant_has_its_event,
);

const TENANTS: [&str; 2] = ["acme", "other"];

/// Copies the order of `acme` with its event to the tenant `other`, as the product `copy`.
async fn copy_order(database: &Database) {
    let columns = "id, status, customer_id, metadata, version, created_at, updated_at, json_bytes";
    let of_event = "order_id, version, event_type, occurred_at, recorded_at, data_bytes, authtype";
    let (position, data) = if database.is_postgres() {
        (
            "position, ",
            "replace(data::text, 'skuoriginal', 'skucopy')::json",
        )
    } else {
        ("", "replace(data, 'skuoriginal', 'skucopy')")
    };
    database
        .execute(&format!(
            "INSERT INTO orders (tenant, {columns}) SELECT 'other', {columns} FROM orders;
             INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
                SELECT 'other', order_id, line, 'skucopy', quantity, status FROM order_items;
             INSERT INTO events (tenant, data, {position}{of_event})
                SELECT 'other', {data}, {position}{of_event} FROM events"
        ))
        .await;
}

/// The versions and products of the order, of all reads that name it by its id, and of the list.
async fn read(store: &Store, tenant: &str, id: Uuid) -> (i32, String) {
    let caller = caller_of(tenant);
    let document = store.get(&caller, id).await.unwrap().unwrap();
    let order = json(&document);
    let product = order["product_id"].as_str().unwrap().to_owned();
    let page = store.list(&caller, ListQuery::FIRST_PAGE).await.unwrap();
    let listed: Vec<Value> = serde_json::from_slice(&page.page.json).unwrap();
    assert_eq!(listed, [order]);
    let events = store.order_events(&caller, id, 0, 100).await.unwrap();
    let versions = events.page.events.iter().map(|event| event.version);
    assert!(
        versions.eq(1..=document.version),
        "the events of {tenant} are those of its order"
    );
    for event in &events.page.events {
        assert!(event.data.contains(&product), "{event:?}");
    }
    (document.version, product)
}

async fn an_id_names_another_order_in_each_tenant(database: Database) {
    let store = store(&database, &[]).await;
    let id = create(&store, order_of("acme", "original")).await.id;
    copy_order(&database).await;
    let mut versions = [1, 1];
    for changed in [0, 1, 1, 0, 1] {
        for (tenant, (version, product)) in TENANTS
            .iter()
            .zip(versions.iter().zip(["skuoriginal", "skucopy"]))
        {
            assert_eq!(
                read(&store, tenant, id).await,
                (*version, product.to_owned())
            );
        }
        versions[changed] += 1;
        let note = Some(versions[changed].to_string());
        let mut command = update(
            id,
            Patch {
                status: None,
                items: None,
                metadata: Some(MetadataPatch::Merge([("note".to_owned(), note)].into())),
            },
        );
        command.caller = caller_of(TENANTS[changed]);
        let outcome = store.update(command).await.unwrap();
        let UpdateOutcome::Current(document) = outcome else {
            panic!("not updated: {outcome:?}");
        };
        assert_eq!(document.version, versions[changed]);
    }
}

async fn a_cursor_has_expired_when_only_another_tenant_has_its_event(database: Database) {
    let store = store(&database, &[]).await;
    create(&store, order_of("acme", "a")).await;
    let (_, cursor) = events(&store, "acme", 1).await;
    assert!(page(&store, "acme", Some(cursor)).await.is_some());
    // In every other respect it is the event of the cursor.
    database.execute("UPDATE events SET tenant = 'other'").await;
    assert!(page(&store, "acme", Some(cursor)).await.is_none());
}
