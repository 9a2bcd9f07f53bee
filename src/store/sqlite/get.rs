//! Gets orders by id.

use std::sync::Arc;

use super::Sqlite;
use super::rows::find_order;
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
                let Some(found) = find_order(connection, key.tenant.as_str(), &key.id)? else {
                    continue;
                };
                bytes += found.json_bytes;
                if bytes > ListQuery::MAX_BYTES && keys.len() > 1 {
                    return Ok(None);
                }
                orders.push((index, found.order));
            }
            Ok(Some(orders))
        })
        .await?
        .ok_or(StoreError::BatchTooLarge)
    }
}
