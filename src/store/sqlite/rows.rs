//! An order as a row of SQLite.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use uuid::Uuid;

use super::schema::{order_items, orders};
use crate::domain::{Items, Line, Metadata, Order};
use crate::store::StoreError;
use crate::store::document::stored_currency;
use crate::store::error::StoreFault;
use crate::store::order_lines;

/// The SQL types of [`OrderLine`].
pub(super) type OrderLineColumns = (
    BigInt,
    Binary,
    Text,
    Integer,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<Text>,
    Text,
    Nullable<Text>,
    Integer,
    BigInt,
    BigInt,
    Integer,
    Integer,
    Nullable<Text>,
);

/// A line of an order with the columns of the order, as on PostgreSQL (`store/postgres/rows.rs`).
#[derive(Queryable)]
pub(super) struct OrderLine {
    number: i64,
    id: Vec<u8>,
    product_id: String,
    quantity: i32,
    unit_amount: Option<i64>,
    currency: Option<String>,
    total_amount: Option<i64>,
    external_id: Option<String>,
    status: String,
    customer_id: Option<String>,
    version: i32,
    created_at: i64,
    updated_at: i64,
    json_bytes: i32,
    line: i32,
    metadata: Option<String>,
}

/// An order, with its length as JSON.
pub(super) struct FoundOrder {
    pub(super) order: Order,
    pub(super) json_bytes: usize,
}

impl order_lines::OrderLine for OrderLine {
    type Found = FoundOrder;

    fn number(&self) -> i64 {
        self.number
    }

    fn place(&self) -> i32 {
        self.line
    }

    fn take_line(&mut self) -> Line {
        Line {
            product_id: std::mem::take(&mut self.product_id),
            quantity: self.quantity,
            unit_amount: self.unit_amount,
        }
    }

    fn into_order(self, lines: Vec<Line>) -> Result<FoundOrder, StoreError> {
        let metadata = self.metadata.as_deref().unwrap_or_default();
        let entries = serde_json::from_str(metadata).map_err(|_| corrupt("metadata"))?;
        Ok(FoundOrder {
            json_bytes: usize::try_from(self.json_bytes).unwrap_or_default(),
            order: Order {
                id: uuid(&self.id)?,
                items: Items::from_stored(lines, self.total_amount),
                currency: stored_currency(self.currency.as_deref())?,
                external_id: self.external_id,
                status: self.status.parse().map_err(|_| corrupt("status"))?,
                customer_id: self.customer_id,
                metadata: Metadata::from_stored(entries),
                version: self.version,
                created_at: time(self.created_at)?,
                updated_at: time(self.updated_at)?,
            },
        })
    }
}

/// The order of a tenant with this id. One statement reads its row and its lines.
pub(super) fn find_order(
    connection: &mut SqliteConnection,
    tenant: &str,
    id: &Uuid,
) -> Result<Option<FoundOrder>, StoreError> {
    let joined = order_items::tenant
        .eq(orders::tenant)
        .and(order_items::order_id.eq(orders::id));
    let lines = orders::table
        .inner_join(order_items::table.on(joined))
        .filter(orders::tenant.eq(tenant))
        .filter(orders::id.eq(id.as_bytes().as_slice()))
        .select((
            0_i64.into_sql::<BigInt>(),
            orders::id,
            order_items::product_id,
            order_items::quantity,
            order_items::unit_amount,
            orders::currency,
            orders::total_amount,
            orders::external_id,
            orders::status,
            orders::customer_id,
            orders::version,
            orders::created_at,
            orders::updated_at,
            orders::json_bytes,
            order_items::line,
            orders::metadata.nullable(),
        ))
        .load(connection)?;
    Ok(order_lines::orders::<OrderLine>(lines)?.pop())
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
