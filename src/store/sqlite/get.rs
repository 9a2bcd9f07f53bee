//! Gets orders by id.

use diesel::prelude::*;
use uuid::Uuid;

use super::Sqlite;
use super::rows::OrderRow;
use super::schema::orders;
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::list::ListQuery;
use crate::telemetry::QueryName;

impl Sqlite {
    /// Returns the orders with these ids, in any order.
    pub(super) async fn get_orders(&self, ids: Vec<Uuid>) -> Result<Vec<Order>, StoreError> {
        self.read(QueryName::GetOrders, move |connection| {
            // One by one: each look-up is a prepared statement in the memory of this process, and a list of ids
            // would be a different statement for each length.
            let (mut orders, mut bytes) = (Vec::with_capacity(ids.len()), 0_usize);
            for id in &ids {
                let row = orders::table
                    .find(id.as_bytes().as_slice())
                    .select((OrderRow::as_select(), orders::json_bytes))
                    .first::<(OrderRow, i32)>(connection)
                    .optional()?;
                let Some((row, length)) = row else { continue };
                bytes += usize::try_from(length).unwrap_or_default();
                if bytes > ListQuery::MAX_BYTES && ids.len() > 1 {
                    return Ok(None);
                }
                orders.push(Order::try_from(row)?);
            }
            Ok(Some(orders))
        })
        .await?
        .ok_or(StoreError::BatchTooLarge)
    }
}
