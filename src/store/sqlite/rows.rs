//! An order as a row of SQLite.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use uuid::Uuid;

use super::schema::orders;
use crate::domain::{Metadata, Order};
use crate::store::StoreError;

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(Sqlite))]
pub(super) struct OrderRow<'a> {
    id: Cow<'a, [u8]>,
    product_id: Cow<'a, str>,
    quantity: i32,
    status: Cow<'a, str>,
    customer_id: Option<Cow<'a, str>>,
    metadata: String,
    version: i32,
    created_at: i64,
    updated_at: i64,
}

impl<'a> TryFrom<&'a Order> for OrderRow<'a> {
    type Error = StoreError;

    fn try_from(order: &'a Order) -> Result<Self, StoreError> {
        Ok(Self {
            id: Cow::Borrowed(order.id.as_bytes()),
            product_id: Cow::Borrowed(&order.product_id),
            quantity: order.quantity,
            status: Cow::Borrowed(order.status.as_str()),
            customer_id: order.customer_id.as_deref().map(Cow::Borrowed),
            metadata: serde_json::to_string(order.metadata.entries())
                .map_err(|error| StoreError::Internal(error.to_string()))?,
            version: order.version,
            created_at: order.created_at.timestamp_micros(),
            updated_at: order.updated_at.timestamp_micros(),
        })
    }
}

impl TryFrom<OrderRow<'_>> for Order {
    type Error = StoreError;

    fn try_from(row: OrderRow<'_>) -> Result<Self, StoreError> {
        let id = Uuid::from_slice(&row.id).map_err(|_| corrupt("id"))?;
        let entries = serde_json::from_str(&row.metadata).map_err(|_| corrupt("metadata"))?;
        Ok(Self {
            id,
            product_id: row.product_id.into_owned(),
            quantity: row.quantity,
            status: row.status.parse().map_err(|_| corrupt("status"))?,
            customer_id: row.customer_id.map(Cow::into_owned),
            metadata: Metadata::trusted(entries),
            version: row.version,
            created_at: time(row.created_at)?,
            updated_at: time(row.updated_at)?,
        })
    }
}

fn time(micros: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| corrupt("time"))
}

fn corrupt(column: &str) -> StoreError {
    StoreError::Internal(format!("an order in the database has a broken {column}"))
}
