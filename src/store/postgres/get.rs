//! Gets orders by id. The length of a batch is known before the metadata of large orders is read.

use std::sync::Arc;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::plan::push_unknown;
use super::rows::{FoundOrder, OrderLine, OrderLineColumns};
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::list::ListQuery;
use crate::store::order_key::OrderKey;
use crate::store::order_lines;
use crate::store::page_sql::ORDER_LINE;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

/// The metadata of an order longer than this, and its lines after the first, are not read at first. For the maximum
/// number of orders in a batch, this is a few MiB.
const LARGE: &str = "16384";

/// Reads orders by id: with all metadata and lines, or only the first line of large orders, without metadata.
pub(super) struct GetOrders<'a, const LARGE_ORDERS: bool> {
    tenants: Vec<&'a str>,
    ids: Vec<Uuid>,
}

impl<'a, const LARGE_ORDERS: bool> GetOrders<'a, LARGE_ORDERS> {
    pub(super) fn new(keys: &'a [OrderKey]) -> Self {
        Self {
            tenants: keys.iter().map(|key| key.tenant.as_str()).collect(),
            ids: keys.iter().map(|key| key.id).collect(),
        }
    }
}

impl<const LARGE_ORDERS: bool> Statement for GetOrders<'_, LARGE_ORDERS> {
    type Database = Pg;
    type Id = GetOrders<'static, LARGE_ORDERS>;
    type Columns = OrderLineColumns;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(ORDER_LINE);
        out.push_sql(", CASE WHEN item.line = 1");
        if !LARGE_ORDERS {
            out.push_sql(" AND found.json_bytes <= ");
            out.push_sql(LARGE);
        }
        out.push_sql(" THEN found.metadata END FROM unnest(");
        push_unknown::<Array<Text>, _>(&self.tenants, out)?;
        out.push_sql(", ");
        push_unknown::<Array<SqlUuid>, _>(&self.ids, out)?;
        // A subquery with OFFSET is planned on its own: one look-up for each key, and never a join that reads the
        // table.
        out.push_sql(
            ") WITH ORDINALITY AS wanted (tenant, id, number)
            CROSS JOIN LATERAL (SELECT wanted.number, orders.* FROM orders
                WHERE orders.tenant = wanted.tenant AND orders.id = wanted.id OFFSET 0) AS found
            CROSS JOIN LATERAL (SELECT line, product_id, quantity, unit_amount FROM order_items
                WHERE order_items.tenant = found.tenant AND order_items.order_id = found.id",
        );
        if !LARGE_ORDERS {
            out.push_sql(" AND order_items.line <= CASE WHEN found.json_bytes <= ");
            out.push_sql(LARGE);
            out.push_sql(" THEN 100 ELSE 1 END");
        }
        out.push_sql(" OFFSET 0) AS item");
        Ok(())
    }
}

impl Postgres {
    /// Returns the orders with these keys, in any order, each with the index of its key.
    pub(super) async fn get_orders(
        &self,
        keys: Arc<[OrderKey]>,
    ) -> Result<Vec<(usize, Order)>, StoreError> {
        let single = keys.len() == 1;
        let rows = if single {
            self.rows::<true>(Arc::clone(&keys)).await?
        } else {
            self.rows::<false>(Arc::clone(&keys)).await?
        };
        let bytes: usize = rows.iter().map(|row| row.json_bytes).sum();
        if bytes > ListQuery::MAX_BYTES && !single {
            return Err(StoreError::BatchTooLarge);
        }
        let (mut orders, mut large) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            let index = row.index();
            match row.order {
                Some(order) => orders.push((index, order)),
                None => large.push(index),
            }
        }
        if !large.is_empty() {
            let found: Vec<(usize, OrderKey)> = large
                .into_iter()
                .filter_map(|index| Some((index, keys.get(index)?.clone())))
                .collect();
            let large = found.iter().map(|(_, key)| key.clone()).collect();
            for row in self.rows::<true>(large).await? {
                if let Some((index, _)) = found.get(row.index())
                    && let Some(order) = row.order
                {
                    orders.push((*index, order));
                }
            }
        }
        Ok(orders)
    }

    async fn rows<const LARGE_ORDERS: bool>(
        &self,
        keys: Arc<[OrderKey]>,
    ) -> Result<Vec<FoundOrder>, StoreError> {
        let lines = self
            .run(QueryName::GetOrders, move |connection| {
                let keys = Arc::clone(&keys);
                async move {
                    let get = GetOrders::<LARGE_ORDERS>::new(&keys);
                    Prepared(get).load(connection).await
                }
                .boxed()
            })
            .await?;
        order_lines::orders::<OrderLine>(lines)
    }
}
