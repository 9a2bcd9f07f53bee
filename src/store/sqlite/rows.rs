//! An order as a row of SQLite.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use uuid::Uuid;

use super::schema::orders;
use crate::domain::{Metadata, Order};
use crate::store::StoreError;
use crate::store::error::StoreFault;

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(Sqlite))]
pub(super) struct OrderRow {
    id: Vec<u8>,
    product_id: String,
    quantity: i32,
    status: String,
    customer_id: Option<String>,
    metadata: String,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<OrderRow> for Order {
    type Error = StoreError;

    fn try_from(row: OrderRow) -> Result<Self, StoreError> {
        let entries = serde_json::from_str(&row.metadata).map_err(|_| corrupt("metadata"))?;
        Ok(Self {
            id: uuid(&row.id)?,
            product_id: row.product_id,
            quantity: row.quantity,
            status: row.status.parse().map_err(|_| corrupt("status"))?,
            customer_id: row.customer_id,
            metadata: Metadata::from_stored(entries),
            version: row.version,
            created_at: time(row.created_at)?,
            updated_at: time(row.updated_at)?,
        })
    }
}

pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|_| corrupt("id"))
}

pub(super) fn time(micros: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| corrupt("time"))
}

fn corrupt(column: &'static str) -> StoreError {
    StoreFault::Corrupt(column).into()
}
