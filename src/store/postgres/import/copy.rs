//! Writes orders, lines and events with `COPY` in its binary format.

use std::pin::pin;

use chrono::{DateTime, Utc};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Statement, Transaction};

use super::find::Write;
use crate::domain::{Caller, Currency, EventType};
use crate::store::import::event_time;
use crate::store::postgres::rows::JsonText;

/// The binary format of a domain is that of its base type.
const ORDER_TYPES: [Type; 12] = [
    Type::TEXT,
    Type::UUID,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INT8,
    Type::JSONB,
    Type::INT4,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::INT4,
];
const COPY_ORDERS: &str =
    "COPY orders (tenant, id, status, customer_id, external_id, currency, total_amount, metadata,
    version, created_at, updated_at, json_bytes) FROM STDIN BINARY";

const ITEM_TYPES: [Type; 7] = [
    Type::TEXT,
    Type::UUID,
    Type::INT2,
    Type::TEXT,
    Type::INT4,
    Type::INT8,
    Type::TEXT,
];
const COPY_ITEMS: &str =
    "COPY order_items (tenant, order_id, line, product_id, quantity, unit_amount, status)
    FROM STDIN BINARY";

const EVENT_TYPES: [Type; 9] = [
    Type::TEXT,
    Type::UUID,
    Type::INT4,
    Type::INT8,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::JSON,
    Type::INT4,
    Type::TEXT,
];
/// The other columns have their defaults.
const COPY_EVENTS: &str =
    "COPY events (tenant, order_id, version, position, event_type, occurred_at, data, data_bytes,
    authtype) FROM STDIN BINARY";

/// The prepared statements.
pub(super) struct CopyStatements {
    orders: Statement,
    items: Statement,
    events: Statement,
}

/// The numbers of rows of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counts {
    orders: u64,
    items: u64,
    events: u64,
}

impl Counts {
    pub(super) fn of(writes: &[Write<'_>]) -> Self {
        let items = writes.iter().map(|write| write.row.lines()).sum();
        Self {
            orders: count(writes.len()),
            items: count(items),
            events: count(writes.len()),
        }
    }
}

/// A number of rows as PostgreSQL reports it.
fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

impl CopyStatements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            orders: client.prepare(COPY_ORDERS).await?,
            items: client.prepare(COPY_ITEMS).await?,
            events: client.prepare(COPY_EVENTS).await?,
        })
    }

    /// Writes the orders, which are imported `now`, with events at this position of the feed. Returns how many rows
    /// PostgreSQL reports to have written.
    pub(super) async fn write(
        &self,
        transaction: &Transaction<'_>,
        caller: &Caller,
        position: i64,
        now: DateTime<Utc>,
        writes: &[Write<'_>],
    ) -> Result<Counts, Error> {
        let tenant = caller.tenant.as_str();
        Ok(Counts {
            orders: self.write_orders(transaction, tenant, writes).await?,
            items: self.write_items(transaction, tenant, writes).await?,
            events: self
                .write_events(transaction, caller, position, now, writes)
                .await?,
        })
    }

    async fn write_orders(
        &self,
        transaction: &Transaction<'_>,
        tenant: &str,
        writes: &[Write<'_>],
    ) -> Result<u64, Error> {
        // In the order in which batches of new orders write external ids, so that the two do not deadlock.
        let mut sorted: Vec<_> = writes.iter().map(|write| &*write.row).collect();
        sorted.sort_by_key(|row| (row.order.external_id.is_none(), &row.order.external_id));
        let sink = transaction.copy_in(&self.orders).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &ORDER_TYPES));
        for row in sorted {
            let order = &row.order;
            let values: [&(dyn ToSql + Sync); ORDER_TYPES.len()] = [
                &tenant,
                &order.id,
                &order.status.as_str(),
                &order.customer_id,
                &order.external_id,
                &order.currency.as_ref().map(Currency::as_str),
                &order.items.total_amount(),
                &JsonText(&row.metadata),
                &order.version,
                &order.created_at,
                &order.updated_at,
                &row.json_bytes(),
            ];
            writer.as_mut().write(&values).await?;
        }
        writer.finish().await
    }

    async fn write_items(
        &self,
        transaction: &Transaction<'_>,
        tenant: &str,
        writes: &[Write<'_>],
    ) -> Result<u64, Error> {
        let sink = transaction.copy_in(&self.items).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &ITEM_TYPES));
        for write in writes {
            let order = &write.row.order;
            let first = order.items.first_of_product();
            for ((number, line), first) in (1_i16..).zip(order.items.lines()).zip(first) {
                let values: [&(dyn ToSql + Sync); ITEM_TYPES.len()] = [
                    &tenant,
                    &order.id,
                    &number,
                    &line.product_id,
                    &line.quantity,
                    &line.unit_amount,
                    &first.then(|| order.status.as_str()),
                ];
                writer.as_mut().write(&values).await?;
            }
        }
        writer.finish().await
    }

    async fn write_events(
        &self,
        transaction: &Transaction<'_>,
        caller: &Caller,
        position: i64,
        now: DateTime<Utc>,
        writes: &[Write<'_>],
    ) -> Result<u64, Error> {
        let sink = transaction.copy_in(&self.events).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &EVENT_TYPES));
        for write in writes {
            let order = &write.row.order;
            let values: [&(dyn ToSql + Sync); EVENT_TYPES.len()] = [
                &caller.tenant.as_str(),
                &order.id,
                &order.version,
                &position,
                &EventType::Imported.as_str(),
                &event_time(order, now),
                &JsonText(&write.row.json),
                &write.row.json_bytes(),
                &caller.auth_type.as_str(),
            ];
            writer.as_mut().write(&values).await?;
        }
        writer.finish().await
    }
}
