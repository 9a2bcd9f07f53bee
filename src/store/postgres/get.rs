//! Gets orders by id. The length of a batch is known before the metadata of large orders is read.

use std::sync::Arc;

use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{
    Array, BigInt, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel::{QueryResult, Queryable};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::rows::{MetadataJson, OrderRow};
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::list::ListQuery;
use crate::store::order_key::OrderKey;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

/// The metadata of an order longer than this is not read at first. For the maximum number of orders in a batch,
/// this is a few MiB.
const LARGE: &str = "16384";

/// Reads orders by id: with all metadata, or without that of large orders.
struct GetOrders<'a, const WITH_ALL_METADATA: bool> {
    tenants: Vec<&'a str>,
    ids: Vec<Uuid>,
}

impl<const WITH_ALL_METADATA: bool> Statement for GetOrders<'_, WITH_ALL_METADATA> {
    type Database = Pg;
    type Id = GetOrders<'static, WITH_ALL_METADATA>;
    type Columns = (
        BigInt,
        SqlUuid,
        Text,
        Integer,
        Text,
        Nullable<Text>,
        Nullable<Jsonb>,
        Integer,
        Timestamptz,
        Timestamptz,
        Integer,
    );

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT number, found.id, product_id, quantity, status, customer_id, ");
        if WITH_ALL_METADATA {
            out.push_sql("metadata");
        } else {
            out.push_sql("CASE WHEN json_bytes <= ");
            out.push_sql(LARGE);
            out.push_sql(" THEN metadata END");
        }
        out.push_sql(", version, created_at, updated_at, json_bytes FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.tenants)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        // A subquery with OFFSET is planned on its own: one look-up for each key, and never a join that reads the
        // table.
        out.push_sql(
            ") WITH ORDINALITY AS wanted (tenant, id, number) CROSS JOIN LATERAL (SELECT * FROM orders
            WHERE orders.tenant = wanted.tenant AND orders.id = wanted.id OFFSET 0) AS found",
        );
        Ok(())
    }
}

/// An order, perhaps without its metadata.
#[derive(Queryable)]
struct PartialRow {
    /// Which of the keys it has, from 1 on.
    number: i64,
    id: Uuid,
    product_id: String,
    quantity: i32,
    status: String,
    customer_id: Option<String>,
    metadata: Option<MetadataJson>,
    version: i32,
    created_at: chrono::DateTime<chrono::Utc>,
    updated_at: chrono::DateTime<chrono::Utc>,
    json_bytes: i32,
}

impl PartialRow {
    /// The index of its key.
    fn index(&self) -> usize {
        usize::try_from(self.number - 1).unwrap_or(usize::MAX)
    }

    /// The order, unless the metadata was not read.
    fn into_order(self) -> Option<Result<Order, StoreError>> {
        Some(Order::try_from(OrderRow {
            id: self.id,
            product_id: self.product_id,
            quantity: self.quantity,
            status: self.status,
            customer_id: self.customer_id,
            metadata: self.metadata?,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }))
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
        let bytes: usize = rows
            .iter()
            .map(|row| usize::try_from(row.json_bytes).unwrap_or_default())
            .sum();
        if bytes > ListQuery::MAX_BYTES && !single {
            return Err(StoreError::BatchTooLarge);
        }
        let (mut orders, mut large) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            let index = row.index();
            match row.into_order() {
                Some(order) => orders.push((index, order?)),
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
                    && let Some(order) = row.into_order()
                {
                    orders.push((*index, order?));
                }
            }
        }
        Ok(orders)
    }

    async fn rows<const WITH_ALL_METADATA: bool>(
        &self,
        keys: Arc<[OrderKey]>,
    ) -> Result<Vec<PartialRow>, StoreError> {
        self.run(QueryName::GetOrders, move |connection| {
            let keys = Arc::clone(&keys);
            async move {
                let get = GetOrders::<WITH_ALL_METADATA> {
                    tenants: keys.iter().map(|key| key.tenant.as_str()).collect(),
                    ids: keys.iter().map(|key| key.id).collect(),
                };
                Prepared(get).load(connection).await
            }
            .boxed()
        })
        .await
    }
}
