//! Erases orders of a customer.

use std::sync::Arc;

use diesel::SqliteConnection;
use diesel::prelude::*;
use uuid::Uuid;

use super::{hold, log_erased, queue};
use crate::store::StoreError;
use crate::store::erasure::{BatchSize, Claim, ErasedOrder, OrderCursor, Step};
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::create::check_written;
use crate::store::sqlite::rows::{find_order, uuid};
use crate::store::sqlite::schema::{erasures, orders};
use crate::telemetry::QueryName;

impl Sqlite {
    pub(super) async fn erase_some_orders(
        &self,
        claim: Arc<Claim>,
        after: Option<OrderCursor>,
        size: BatchSize,
    ) -> Result<Option<Step<OrderCursor>>, StoreError> {
        self.write(QueryName::EraseOrders, move |connection| {
            if !hold(connection, &claim)? {
                return Ok(None);
            }
            let mut found = find(connection, &claim, after.unwrap_or(OrderCursor::BEGINNING))?;
            found.truncate(size.fitting(found.iter().map(|(_, _, bytes)| *bytes)));
            let mut next = None;
            for (id, status, _) in found {
                let id = uuid(&id)?;
                erase(connection, &claim, &id)?;
                next = Some(OrderCursor { status, id });
            }
            Ok(Some(Step {
                changed: next.is_some(),
                next,
            }))
        })
        .await
    }
}

/// Walks along the orders of the customer, in the order of the index.
fn find(
    connection: &mut SqliteConnection,
    claim: &Claim,
    after: OrderCursor,
) -> QueryResult<Vec<(Vec<u8>, String, i32)>> {
    let OrderCursor { status, id } = after;
    orders::table
        .filter(orders::tenant.eq(claim.tenant.as_str()))
        .filter(orders::customer_id.eq(&claim.customer_id))
        .filter(orders::status.ge(&status))
        .filter(
            orders::status
                .gt(&status)
                .or(orders::id.gt(id.as_bytes().as_slice())),
        )
        .order((orders::status, orders::id))
        .limit(BatchSize::MAX_ORDERS.into())
        .select((orders::id, orders::status, orders::json_bytes))
        .load(connection)
}

/// Writes the erased version of an order.
fn erase(connection: &mut SqliteConnection, claim: &Claim, id: &Uuid) -> Result<(), StoreError> {
    let Some(found) = find_order(connection, claim.tenant.as_str(), id)? else {
        return Ok(());
    };
    let erased = ErasedOrder::new(found.order, claim)?;
    let order = &erased.order;
    let written =
        diesel::update(orders::table.find((claim.tenant.as_str(), id.as_bytes().as_slice())))
            .set((
                orders::customer_id.eq(&order.customer_id),
                orders::external_id.eq(&order.external_id),
                orders::metadata.eq("{}"),
                orders::version.eq(order.version),
                orders::updated_at.eq(order.updated_at.timestamp_micros()),
                orders::json_bytes.eq(erased.json_bytes()),
            ))
            .execute(connection)?;
    check_written(written)?;
    log_erased(
        connection,
        claim,
        id,
        order.version,
        order.updated_at,
        &erased.json,
    )?;
    queue(connection, claim, id, order.version)?;
    let key = (claim.tenant.as_str(), claim.id.as_bytes().as_slice());
    let counted = diesel::update(erasures::table.find(key))
        .set(erasures::orders.eq(erasures::orders + 1))
        .execute(connection)?;
    check_written(counted)
}
