//! Removes archived orders.

use chrono::Utc;
use diesel::prelude::*;
use diesel::sqlite::Sqlite as SqliteDatabase;
use uuid::Uuid;

use super::super::create::{Origin, insert_event};
use super::super::rows::OrderLine;
use super::super::schema::{archived_orders, idempotency_keys, order_items, orders};
use crate::domain::{Caller, EventType, Order, Tenant};
use crate::store::StoreError;
use crate::store::maintain::ArchivedOrder;
use crate::store::order_lines;
use crate::store::page_sql::PageSql;

/// A page of orders.
pub(super) fn read(
    connection: &mut SqliteConnection,
    page: PageSql<SqliteDatabase>,
) -> Result<Vec<Order>, StoreError> {
    let found = order_lines::orders::<OrderLine>(page.load(connection)?)?;
    Ok(found.into_iter().map(|found| found.order).collect())
}

/// Removes archived orders, and returns the ids of those that it removed.
pub(super) fn remove(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    archived: &[ArchivedOrder],
    with_keys: bool,
) -> Result<Vec<Uuid>, StoreError> {
    let caller = Caller::system(tenant.clone());
    let mut removed = Vec::with_capacity(archived.len());
    for each in archived {
        if remove_order(connection, &caller, each, with_keys)? {
            removed.push(each.order.id);
        }
    }
    Ok(removed)
}

/// Removes an order if it still has the version before the archived one.
fn remove_order(
    connection: &mut SqliteConnection,
    caller: &Caller,
    archived: &ArchivedOrder,
    with_keys: bool,
) -> Result<bool, StoreError> {
    let ArchivedOrder { order, json } = archived;
    let (tenant, id) = (caller.tenant.as_str(), order.id.as_bytes().as_slice());
    let row = orders::table
        .find((tenant, id))
        .filter(orders::version.eq(order.version - 1));
    if diesel::delete(row).execute(connection)? == 0 {
        return Ok(false);
    }
    let lines = order_items::table
        .filter(order_items::tenant.eq(tenant))
        .filter(order_items::order_id.eq(id));
    diesel::delete(lines).execute(connection)?;
    if with_keys {
        let keys = idempotency_keys::table
            .filter(idempotency_keys::tenant.eq(tenant))
            .filter(idempotency_keys::order_id.eq(id));
        diesel::delete(keys).execute(connection)?;
    }
    let at = Utc::now().max(order.updated_at);
    // The order may have been archived before, and imported again.
    diesel::replace_into(archived_orders::table)
        .values((
            archived_orders::tenant.eq(tenant),
            archived_orders::order_id.eq(id),
            archived_orders::customer_id.eq(&order.customer_id),
            archived_orders::version.eq(order.version),
            archived_orders::archived_at.eq(Utc::now().timestamp_micros()),
        ))
        .execute(connection)?;
    let origin = Origin {
        caller,
        traceparent: None,
    };
    insert_event(connection, order, EventType::Archived, at, json, &origin)?;
    Ok(true)
}
