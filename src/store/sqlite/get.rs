//! Gets orders by id.

use std::sync::Arc;

use diesel::prelude::*;

use super::Sqlite;
use super::rows::OrderRow;
use super::schema::orders;
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::list::ListQuery;
use crate::store::order_key::OrderKey;
use crate::telemetry::QueryName;

impl Sqlite {
    /// Returns the orders with these keys, each with the index of its key.
    pub(super) async fn get_orders(
        &self,
        keys: Arc<[OrderKey]>,
    ) -> Result<Vec<(usize, Order)>, StoreError> {
        self.read(QueryName::GetOrders, move |connection| {
            // One by one: each look-up is a prepared statement in the memory of this process, and a list of keys
            // would be a different statement for each length.
            let (mut orders, mut bytes) = (Vec::with_capacity(keys.len()), 0_usize);
            for (index, key) in keys.iter().enumerate() {
                let row = orders::table
                    .find((key.tenant.as_str(), key.id.as_bytes().as_slice()))
                    .select((OrderRow::as_select(), orders::json_bytes))
                    .first::<(OrderRow, i32)>(connection)
                    .optional()?;
                let Some((row, length)) = row else { continue };
                bytes += usize::try_from(length).unwrap_or_default();
                if bytes > ListQuery::MAX_BYTES && keys.len() > 1 {
                    return Ok(None);
                }
                orders.push((index, Order::try_from(row)?));
            }
            Ok(Some(orders))
        })
        .await?
        .ok_or(StoreError::BatchTooLarge)
    }
}
