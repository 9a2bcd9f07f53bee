//! Writes orders with their events, one transaction a batch.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel::prelude::*;

use super::Sqlite;
use super::rows::{OrderRow, uuid};
use super::schema::{events, idempotency_keys, orders};
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::admission::Admission;
use crate::store::coalesce::{Batch, LockWait};
use crate::store::create::{
    CreateOutcome, ExistingOrder, Idempotency, NewRow, Replay, UpdateOrder, json_bytes,
};
use crate::store::update::{Decision, Next, Outcome, decide};
use crate::telemetry::QueryName;

/// Places orders.
pub(in crate::store) struct Create(pub(in crate::store) Sqlite);

impl Batch for Create {
    type Item = Arc<NewRow>;
    type Answer = CreateOutcome;

    /// The order is placed even if its client is gone: it was accepted.
    const SERVE_ABANDONED: bool = true;

    async fn serve(
        &self,
        rows: Arc<[Arc<NewRow>]>,
        _: LockWait,
    ) -> Result<Vec<CreateOutcome>, StoreError> {
        self.0
            .write(QueryName::CreateOrders, move |connection| {
                rows.iter().map(|row| place(connection, row)).collect()
            })
            .await
    }
}

/// Writes one order, or finds what was placed before with its key. The transaction has the right to write
/// from its beginning, so nothing changes between the look-up and the insert.
fn place(connection: &mut SqliteConnection, row: &NewRow) -> Result<CreateOutcome, StoreError> {
    let order = &row.order;
    if let Some((key, hash)) = row.key().zip(row.hash()) {
        if let Some(found) = find(connection, key)? {
            return Ok(row.resolve_conflict(&found));
        }
        let written = diesel::insert_into(idempotency_keys::table)
            .values((
                idempotency_keys::key.eq(key),
                idempotency_keys::order_id.eq(order.id.as_bytes().as_slice()),
                idempotency_keys::request_hash.eq(hash),
                idempotency_keys::hash_version.eq(i32::from(Idempotency::HASH_VERSION)),
                idempotency_keys::document.eq(&*row.json),
                idempotency_keys::created_at.eq(order.created_at.timestamp_micros()),
            ))
            .execute(connection)?;
        proven(written)?;
    }
    let written = diesel::insert_into(orders::table)
        .values((
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
    proven(written)?;
    log(
        connection,
        order,
        order.created_at,
        &row.json,
        row.traceparent.as_deref(),
    )?;
    Ok(CreateOutcome::New(row.document()))
}

/// What was placed before with this key.
fn find(connection: &mut SqliteConnection, key: &str) -> Result<Option<ExistingOrder>, StoreError> {
    let found: Option<(Vec<u8>, Vec<u8>, i32, String)> = idempotency_keys::table
        .find(key)
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

/// Writes the event of a version.
fn log(
    connection: &mut SqliteConnection,
    order: &Order,
    at: DateTime<Utc>,
    data: &str,
    traceparent: Option<&str>,
) -> Result<(), StoreError> {
    let written = diesel::insert_into(events::table)
        .values((
            events::order_id.eq(order.id.as_bytes().as_slice()),
            events::version.eq(order.version),
            events::occurred_at.eq(at.timestamp_micros()),
            events::data.eq(data),
            events::data_bytes.eq(json_bytes(data)),
            events::traceparent.eq(traceparent),
        ))
        .execute(connection)?;
    proven(written)
}

impl Sqlite {
    /// Changes an order in one transaction, which has the right to write from its beginning.
    pub(in crate::store) async fn update(
        &self,
        command: &Arc<UpdateOrder>,
        admission: &Admission,
    ) -> Result<Outcome, StoreError> {
        let (command, admission) = (Arc::clone(command), admission.clone());
        self.write(QueryName::UpdateOrder, move |connection| {
            let row: Option<OrderRow> = orders::table
                .find(command.id.as_bytes().as_slice())
                .select(OrderRow::as_select())
                .first(connection)
                .optional()?;
            let order = row.map(Order::try_from).transpose()?;
            let _charge = order
                .as_ref()
                .map(|order| admission.charge(order))
                .transpose()?;
            match decide(order.as_ref(), &command)? {
                Decision::Respond(changed) => Ok(changed.into()),
                Decision::Write(next) => {
                    replace(connection, &next, command.traceparent.as_deref())?;
                    Ok(next.written())
                }
            }
        })
        .await
    }
}

/// Writes the next version of an order, which exists, with its event.
fn replace(
    connection: &mut SqliteConnection,
    next: &Next,
    traceparent: Option<&str>,
) -> Result<(), StoreError> {
    let Next {
        order,
        json,
        metadata,
    } = next;
    let written = diesel::update(orders::table.find(order.id.as_bytes().as_slice()))
        .set((
            orders::quantity.eq(order.quantity),
            orders::status.eq(order.status.as_str()),
            orders::metadata.eq(metadata),
            orders::version.eq(order.version),
            orders::updated_at.eq(order.updated_at.timestamp_micros()),
            orders::json_bytes.eq(json_bytes(json)),
        ))
        .execute(connection)?;
    proven(written)?;
    log(connection, order, order.updated_at, json, traceparent)
}

/// An error unless exactly one row was written: a trigger may have passed over it.
fn proven(written: usize) -> Result<(), StoreError> {
    if written == 1 {
        return Ok(());
    }
    Err(StoreError::Unavailable(
        "the database did not keep a row".to_owned(),
    ))
}
