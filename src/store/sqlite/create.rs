//! Creates a batch of orders with their events, in one transaction.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel::prelude::*;

use super::Sqlite;
use super::rows::uuid;
use super::schema::{events, idempotency_keys, orders};
use crate::domain::{Caller, Order};
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
    ) -> Result<Vec<CreateOutcome>, StoreError> {
        self.write(QueryName::CreateOrders, move |connection| {
            rows.iter()
                .map(|row| create_order(connection, row))
                .collect()
        })
        .await
    }
}

/// Inserts one order, or finds the order that was created before with its key. The transaction may write from its
/// beginning, so nothing changes between the look-up and the insert.
fn create_order(
    connection: &mut SqliteConnection,
    row: &NewRow,
) -> Result<CreateOutcome, StoreError> {
    let order = &row.order;
    let tenant = row.caller.tenant.as_str();
    if let Some((key, hash)) = row.key().zip(row.hash()) {
        if let Some(found) = find(connection, tenant, key)? {
            return Ok(row.resolve_conflict(&found));
        }
        let written = diesel::insert_into(idempotency_keys::table)
            .values((
                idempotency_keys::tenant.eq(tenant),
                idempotency_keys::key.eq(key),
                idempotency_keys::order_id.eq(order.id.as_bytes().as_slice()),
                idempotency_keys::request_hash.eq(hash),
                idempotency_keys::hash_version.eq(i32::from(Idempotency::HASH_VERSION)),
                idempotency_keys::document.eq(&*row.json),
                idempotency_keys::created_at.eq(order.created_at.timestamp_micros()),
            ))
            .execute(connection)?;
        check_written(written)?;
    }
    let written = diesel::insert_into(orders::table)
        .values((
            orders::tenant.eq(tenant),
            orders::id.eq(order.id.as_bytes().as_slice()),
            orders::product_id.eq(&order.product_id),
            orders::quantity.eq(order.quantity),
            orders::status.eq(order.status.as_str()),
            orders::customer_id.eq(&order.customer_id),
            orders::metadata.eq(&row.metadata),
            orders::version.eq(order.version),
            orders::created_at.eq(order.created_at.timestamp_micros()),
            orders::updated_at.eq(order.updated_at.timestamp_micros()),
            orders::json_bytes.eq(row.json_bytes()),
        ))
        .execute(connection)?;
    check_written(written)?;
    insert_event(
        connection,
        order,
        order.created_at,
        &row.json,
        &Origin {
            caller: &row.caller,
            traceparent: row.traceparent.as_deref(),
        },
    )?;
    Ok(CreateOutcome::New(row.document()))
}

/// Finds the order that was created before with this key of the tenant.
fn find(
    connection: &mut SqliteConnection,
    tenant: &str,
    key: &str,
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

/// Where a change comes from.
pub(super) struct Origin<'a> {
    pub(super) caller: &'a Caller,
    pub(super) traceparent: Option<&'a str>,
}

/// Inserts the event of a version.
pub(super) fn insert_event(
    connection: &mut SqliteConnection,
    order: &Order,
    at: DateTime<Utc>,
    data: &str,
    origin: &Origin<'_>,
) -> Result<(), StoreError> {
    let written = diesel::insert_into(events::table)
        .values((
            events::tenant.eq(origin.caller.tenant.as_str()),
            events::order_id.eq(order.id.as_bytes().as_slice()),
            events::version.eq(order.version),
            events::occurred_at.eq(at.timestamp_micros()),
            events::data.eq(data),
            events::data_bytes.eq(json_bytes(data)),
            events::traceparent.eq(origin.traceparent),
            events::authtype.eq(origin.caller.auth_type.as_str()),
            events::authid.eq(auth_id(origin.caller)),
        ))
        .execute(connection)?;
    check_written(written)
}

/// Returns an error unless exactly one row was written: a trigger may have dropped it.
pub(super) fn check_written(written: usize) -> Result<(), StoreError> {
    if written == 1 {
        return Ok(());
    }
    Err(StoreFault::RowNotKept.into())
}
