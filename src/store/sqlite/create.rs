//! Creates a batch of orders with their lines and events, in one transaction.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel::prelude::*;
use uuid::Uuid;

use super::Sqlite;
use super::rows::uuid;
use super::schema::{events, idempotency_keys, order_items, orders};
use crate::domain::{Caller, Currency, EventType, Order};
use crate::store::StoreError;
use crate::store::auth_context::auth_id;
use crate::store::create::{CreateOutcome, ExistingOrder, Idempotency, NewRow, Replay};
use crate::store::document::json_bytes;
use crate::store::error::StoreFault;
use crate::telemetry::QueryName;

impl Sqlite {
    /// Creates a batch of orders.
    pub(super) async fn create_orders(
        &self,
        rows: Arc<[Arc<NewRow>]>,
    ) -> Result<Vec<Result<CreateOutcome, StoreError>>, StoreError> {
        let panics = self.panics.clone();
        self.write(QueryName::CreateOrders, move |connection| {
            let create = |row: &Arc<NewRow>| {
                row.panic_in_test(&panics);
                create_order(connection, row).map(Ok)
            };
            rows.iter().map(create).collect()
        })
        .await
    }
}

/// Inserts one order, or finds the order that was created before with its key, or the one that has its external id.
/// The transaction may write from its beginning, so nothing changes between the look-ups and the insert.
fn create_order(
    connection: &mut SqliteConnection,
    row: &NewRow,
) -> Result<CreateOutcome, StoreError> {
    let order = &row.order;
    let tenant = row.caller.tenant.as_str();
    if let Some(found) = find(connection, tenant, row)?
        && let Some(outcome) = row.resolve_conflicts(&[found])
    {
        return Ok(outcome);
    }
    if let Some((key, hash)) = row.key().zip(row.hash()) {
        let written = diesel::insert_into(idempotency_keys::table)
            .values((
                idempotency_keys::tenant.eq(tenant),
                idempotency_keys::key_hash.eq(key),
                idempotency_keys::order_id.eq(order.id.as_bytes().as_slice()),
                idempotency_keys::request_hash.eq(hash),
                idempotency_keys::hash_version.eq(i32::from(Idempotency::HASH_VERSION)),
                idempotency_keys::document.eq(&*row.json),
                idempotency_keys::created_at.eq(order.created_at.timestamp_micros()),
            ))
            .execute(connection)?;
        check_written(written)?;
    }
    insert_order(connection, tenant, order, &row.metadata, row.json_bytes())?;
    insert_lines(connection, tenant, order)?;
    insert_event(
        connection,
        order,
        EventType::Created,
        order.created_at,
        &row.json,
        &Origin {
            caller: &row.caller,
            traceparent: row.traceparent.as_deref(),
        },
    )?;
    Ok(CreateOutcome::New(row.document()))
}

/// Inserts the row of an order, whose metadata as JSON and length as JSON are given.
pub(super) fn insert_order(
    connection: &mut SqliteConnection,
    tenant: &str,
    order: &Order,
    metadata: &str,
    json_bytes: i32,
) -> Result<(), StoreError> {
    let written = diesel::insert_into(orders::table)
        .values((
            orders::tenant.eq(tenant),
            orders::id.eq(order.id.as_bytes().as_slice()),
            orders::status.eq(order.status.as_str()),
            orders::customer_id.eq(&order.customer_id),
            orders::external_id.eq(&order.external_id),
            orders::currency.eq(order.currency.as_ref().map(Currency::as_str)),
            orders::total_amount.eq(order.items.total_amount()),
            orders::metadata.eq(metadata),
            orders::version.eq(order.version),
            orders::created_at.eq(order.created_at.timestamp_micros()),
            orders::updated_at.eq(order.updated_at.timestamp_micros()),
            orders::json_bytes.eq(json_bytes),
        ))
        .execute(connection)?;
    check_written(written)
}

/// Finds the order that the row conflicts with: by its key, then by its external id.
fn find(
    connection: &mut SqliteConnection,
    tenant: &str,
    row: &NewRow,
) -> Result<Option<ExistingOrder>, StoreError> {
    let by_key = match row.key() {
        Some(key) => find_by_key(connection, tenant, key)?,
        None => None,
    };
    match row.external_id() {
        Some(external_id) if by_key.is_none() => {
            find_by_external_id(connection, tenant, external_id)
        }
        _ => Ok(by_key),
    }
}

/// Finds the order that has this external id of the tenant.
pub(super) fn find_by_external_id(
    connection: &mut SqliteConnection,
    tenant: &str,
    external_id: &str,
) -> Result<Option<ExistingOrder>, StoreError> {
    let found: Option<Vec<u8>> = orders::table
        .filter(orders::tenant.eq(tenant))
        .filter(orders::external_id.eq(external_id))
        .select(orders::id)
        .first(connection)
        .optional()?;
    found
        .map(|id| {
            Ok(ExistingOrder {
                id: uuid(&id)?,
                replay: None,
            })
        })
        .transpose()
}

/// Finds the order that was created before with this key of the tenant.
fn find_by_key(
    connection: &mut SqliteConnection,
    tenant: &str,
    key: &[u8],
) -> Result<Option<ExistingOrder>, StoreError> {
    let found: Option<(Vec<u8>, Vec<u8>, i32, String)> = idempotency_keys::table
        .find((tenant, key))
        .select((
            idempotency_keys::order_id,
            idempotency_keys::request_hash,
            idempotency_keys::hash_version,
            idempotency_keys::document,
        ))
        .first(connection)
        .optional()?;
    found
        .map(|(id, hash, hash_version, document)| {
            Ok(ExistingOrder {
                id: uuid(&id)?,
                replay: Some(Replay {
                    hash,
                    hash_version: i16::try_from(hash_version).unwrap_or_default(),
                    json: document.into(),
                }),
            })
        })
        .transpose()
}

/// Inserts the lines of an order that has none.
pub(super) fn insert_lines(
    connection: &mut SqliteConnection,
    tenant: &str,
    order: &Order,
) -> Result<(), StoreError> {
    let first = order.items.first_of_product();
    for ((number, line), first) in (1..).zip(order.items.lines()).zip(first) {
        let written = diesel::insert_into(order_items::table)
            .values((
                order_items::tenant.eq(tenant),
                order_items::order_id.eq(order.id.as_bytes().as_slice()),
                order_items::line.eq(number),
                order_items::product_id.eq(&line.product_id),
                order_items::quantity.eq(line.quantity),
                order_items::unit_amount.eq(line.unit_amount),
                order_items::status.eq(first.then(|| order.status.as_str())),
            ))
            .execute(connection)?;
        check_written(written)?;
    }
    Ok(())
}

/// Where a change comes from.
pub(super) struct Origin<'a> {
    pub(super) caller: &'a Caller,
    pub(super) traceparent: Option<&'a str>,
}

/// Inserts the event of a version.
pub(super) fn insert_event(
    connection: &mut SqliteConnection,
    order: &Order,
    event_type: EventType,
    at: DateTime<Utc>,
    data: &str,
    origin: &Origin<'_>,
) -> Result<(), StoreError> {
    let auth_id = auth_id(origin.caller);
    let event = NewEvent {
        tenant: origin.caller.tenant.as_str(),
        order_id: &order.id,
        version: order.version,
        event_type,
        at,
        data,
        traceparent: origin.traceparent,
        auth_type: origin.caller.auth_type.as_str(),
        auth_id: auth_id.as_deref(),
    };
    event.insert(connection)
}

/// An event to insert.
pub(super) struct NewEvent<'a> {
    pub(super) tenant: &'a str,
    pub(super) order_id: &'a Uuid,
    pub(super) version: i32,
    pub(super) event_type: EventType,
    pub(super) at: DateTime<Utc>,
    pub(super) data: &'a str,
    pub(super) traceparent: Option<&'a str>,
    pub(super) auth_type: &'a str,
    pub(super) auth_id: Option<&'a str>,
}

impl NewEvent<'_> {
    pub(super) fn insert(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let written = diesel::insert_into(events::table)
            .values((
                events::tenant.eq(self.tenant),
                events::order_id.eq(self.order_id.as_bytes().as_slice()),
                events::version.eq(self.version),
                events::event_type.eq(self.event_type.as_str()),
                events::occurred_at.eq(self.at.timestamp_micros()),
                events::recorded_at.eq(Utc::now().timestamp_micros()),
                events::data.eq(self.data),
                events::data_bytes.eq(json_bytes(self.data)),
                events::traceparent.eq(self.traceparent),
                events::authtype.eq(self.auth_type),
                events::authid.eq(self.auth_id),
            ))
            .execute(connection)?;
        check_written(written)
    }
}

/// Returns an error unless exactly one row was written: a trigger may have dropped it.
pub(super) fn check_written(written: usize) -> Result<(), StoreError> {
    if written == 1 {
        return Ok(());
    }
    Err(StoreFault::RowNotKept.into())
}
