//! Writes orders with their events, one transaction a batch.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel::prelude::*;

use super::Sqlite;
use super::rows::uuid;
use super::schema::{events, orders};
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::coalesce::Batch;
use crate::store::model::{Changing, Found, NewRow, Placed, metadata_json};
use crate::telemetry::QueryName;

/// Places orders.
pub(in crate::store) struct Create(pub(in crate::store) Sqlite);

impl Batch for Create {
    type Item = Arc<NewRow>;
    type Answer = Placed;

    /// The order is placed even if its client is gone: it was accepted.
    const SERVE_ABANDONED: bool = true;

    async fn serve(&self, rows: Arc<[Arc<NewRow>]>) -> Result<Vec<Placed>, StoreError> {
        self.0
            .write(QueryName::CreateOrders, move |connection| {
                rows.iter().map(|row| place(connection, row)).collect()
            })
            .await
    }
}

fn place(connection: &mut SqliteConnection, row: &NewRow) -> Result<Placed, StoreError> {
    let order = &row.order;
    let written = diesel::insert_or_ignore_into(orders::table)
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
            orders::idempotency_key.eq(row.key()),
            orders::request_hash.eq(row.hash()),
        ))
        .execute(connection)?;
    if written == 1 {
        log(
            connection,
            order,
            order.created_at,
            &row.json,
            row.traceparent.as_deref(),
        )?;
        return Ok(Placed::New(row.document()));
    }
    match found(connection, row)? {
        Some(found) => Ok(row.against(&found)),
        // `INSERT OR IGNORE` passes over a broken CHECK as well.
        None => Err(StoreError::Internal(
            "the database refused an order".to_owned(),
        )),
    }
}

/// The order that was placed before with the key of this row.
fn found(connection: &mut SqliteConnection, row: &NewRow) -> Result<Option<Found>, StoreError> {
    let Some(key) = row.key() else {
        return Ok(None);
    };
    let found: Option<(Vec<u8>, Option<Vec<u8>>, String)> = orders::table
        .inner_join(events::table.on(events::order_id.eq(orders::id).and(events::version.eq(1))))
        .filter(orders::idempotency_key.eq(key))
        .select((orders::id, orders::request_hash, events::data))
        .first(connection)
        .optional()?;
    found
        .map(|(id, hash, data)| {
            Ok(Found {
                id: uuid(&id)?,
                hash: hash.unwrap_or_default(),
                json: data.into(),
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
) -> QueryResult<usize> {
    diesel::insert_into(events::table)
        .values((
            events::order_id.eq(order.id.as_bytes().as_slice()),
            events::version.eq(order.version),
            events::occurred_at.eq(at.timestamp_micros()),
            events::data.eq(data),
            events::traceparent.eq(traceparent),
        ))
        .execute(connection)
}

impl Sqlite {
    /// Writes `next` over the version before it. False when the order has another version by now.
    pub(in crate::store) async fn replace(
        &self,
        next: &Order,
        changing: &Changing,
        json: &str,
    ) -> Result<bool, StoreError> {
        let metadata = metadata_json(&next.metadata)?;
        let (next, json) = (next.clone(), json.to_owned());
        let traceparent = changing.traceparent.clone();
        self.write(QueryName::UpdateOrder, move |connection| {
            let before = orders::table
                .find(next.id.as_bytes().as_slice())
                .filter(orders::version.eq(next.version - 1));
            let written = diesel::update(before)
                .set((
                    orders::quantity.eq(next.quantity),
                    orders::status.eq(next.status.as_str()),
                    orders::metadata.eq(metadata),
                    orders::version.eq(next.version),
                    orders::updated_at.eq(next.updated_at.timestamp_micros()),
                ))
                .execute(connection)?;
            if written == 1 {
                log(
                    connection,
                    &next,
                    next.updated_at,
                    &json,
                    traceparent.as_deref(),
                )?;
            }
            Ok(written == 1)
        })
        .await
    }
}
